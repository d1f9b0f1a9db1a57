"""A store holds what preprocessing makes of every image, is made once, and never half."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_repro.data.preprocess import shorter_side_and_centre
from alexnet_repro.data.sources import Source, Split, folder
from alexnet_repro.data.statistics import measure
from alexnet_repro.data.store import Store, StoredSplit, open_store, prepare
from alexnet_repro.errors import UsageError

MakeFolder = Callable[..., Path]
SIZE = 16
# More than one batch of rows in train.
COUNTS = {"train": {"cat": 40, "dog": 35}, "val": {"cat": 3, "dog": 2}}


@pytest.fixture
def root(image_folder: MakeFolder) -> Path:
    return image_folder(COUNTS)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(root: Path, cache: Path) -> Store:
    return prepare(folder(str(root)), SIZE, cache, "pets")


def test_holds_every_split_with_its_classes(store: Store) -> None:
    assert store.classes == ("cat", "dog")
    assert store.image_size == SIZE
    assert {split: len(images) for split, images in store.splits.items()} == {"train": 75, "val": 5}


def test_holds_the_preprocessed_pixels_labels_and_names(store: Store, root: Path) -> None:
    for split, images in store.splits.items():
        files = sorted(path for path in (root / split).rglob("*.png"))
        assert [images.name(i) for i in range(len(images))] == [
            f"{split}/{path.parent.name}/{path.name}" for path in files
        ]
        labels = [("cat", "dog").index(path.parent.name) for path in files]
        assert images.labels.tolist() == labels
        for i, path in enumerate(files):
            with Image.open(path) as image:
                expected = shorter_side_and_centre(image, SIZE)
            assert np.array_equal(images.image(i), expected), path


def test_images_iterates_over_all_in_order(store: Store) -> None:
    train = store.splits["train"]
    assert np.array_equal(
        np.stack(list(train.images())), np.stack([train.image(i) for i in range(75)])
    )


def test_statistics_are_those_of_the_stored_training_images(store: Store) -> None:
    expected = measure(store.splits["train"].images())
    assert np.array_equal(store.statistics.mean_image, expected.mean_image)
    assert np.array_equal(store.statistics.eigenvalues, expected.eigenvalues)


@pytest.mark.parametrize("size", [9, 13])
def test_sizes_that_fill_no_whole_words_are_stored_too(root: Path, cache: Path, size: int) -> None:
    images = prepare(folder(str(root)), size, cache, "pets").splits["val"]
    with Image.open(root / images.name(4)) as image:
        assert np.array_equal(images.image(4), shorter_side_and_centre(image, size))


def test_images_are_read_only(store: Store) -> None:
    image = store.splits["train"].image(70)
    assert not image.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1


def test_images_are_views_of_one_memory_map(store: Store) -> None:
    train = store.splits["train"]
    image = train.image(3)
    assert not image.flags.owndata
    assert np.shares_memory(image, train.image(3))
    # Neighbours lie next to each other in the same file.
    addresses = [train.image(i).__array_interface__["data"][0] for i in (3, 4)]
    assert addresses[1] - addresses[0] == SIZE * SIZE * 3


def unreadable(source: Source) -> Source:
    """The same source, but no image of it can be opened any more."""

    def open_(index: int) -> Image.Image:
        raise AssertionError("the source was read again")

    splits = {name: Split(s.names, s.labels, open_) for name, s in source.splits.items()}
    return Source(source.classes, splits, source.fingerprint)


def test_a_store_is_made_once(store: Store, root: Path, cache: Path) -> None:
    again = prepare(unreadable(folder(str(root))), SIZE, cache, "pets")
    assert again.directory == store.directory
    assert [path.name for path in cache.iterdir()] == [store.directory.name]


def test_another_size_or_a_changed_file_makes_another_store(
    store: Store, root: Path, cache: Path
) -> None:
    other_size = prepare(folder(str(root)), SIZE + 1, cache, "pets")
    Image.new("RGB", (20, 20), (1, 2, 3)).save(root / "val" / "dog" / "000.png")
    changed = prepare(folder(str(root)), SIZE, cache, "pets")
    directories = {s.directory for s in (store, other_size, changed)}
    assert len(directories) == 3
    assert (changed.splits["val"].image(3) == (1, 2, 3)).all()


def test_a_new_and_a_missing_file_make_another_store(store: Store, root: Path, cache: Path) -> None:
    (root / "train" / "cat" / "000.png").unlink()
    assert len(prepare(folder(str(root)), SIZE, cache, "pets").splits["train"]) == 74
    Image.new("RGB", (20, 20)).save(root / "train" / "cat" / "new.png")
    Image.new("RGB", (20, 20)).save(root / "train" / "cat" / "newer.png")
    assert len(prepare(folder(str(root)), SIZE, cache, "pets").splits["train"]) == 76


def test_a_pickled_split_opens_the_file_again(store: Store) -> None:
    train = store.splits["train"]
    pickled = pickle.dumps(train)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert isinstance(copy, StoredSplit)
    assert len(copy) == 75
    assert np.array_equal(copy.image(70), train.image(70))
    assert np.array_equal(copy.labels, train.labels)
    assert copy.name(70) == train.name(70)


# What goes wrong while a store is made


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _text(path: Path) -> None:
    path.write_text("<html>404</html>")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_truncate, _text, _empty])
@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_a_damaged_image_is_named_and_nothing_is_left(
    root: Path, cache: Path, damage: Callable[[Path], None], extension: str
) -> None:
    path = root / "train" / "dog" / f"damaged.{extension}"
    random = np.random.default_rng(1)
    pixels = random.integers(256, size=(60, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    damage(path)
    with pytest.raises(UsageError) as error:
        prepare(folder(str(root)), SIZE, cache, "pets")
    assert f"1 images cannot be read: train/dog/damaged.{extension}" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(cache.iterdir()) == []


def test_many_damaged_images_are_counted_and_three_named(root: Path, cache: Path) -> None:
    for i in range(10):
        _text(root / "train" / "dog" / f"{i:03d}.png")
    with pytest.raises(UsageError) as error:
        prepare(folder(str(root)), SIZE, cache, "pets")
    message = str(error.value)
    assert message.startswith("10 images cannot be read: train/dog/000.png")
    assert [f"{i:03d}.png" in message for i in range(10)] == [True] * 3 + [False] * 7
    assert list(cache.iterdir()) == []


def test_an_image_that_pil_finds_too_large_is_named(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (80, 80)).save(root / "val" / "dog" / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(UsageError, match=r"1 images cannot be read: val/dog/large\.png"):
        prepare(folder(str(root)), SIZE, cache, "pets")
    assert list(cache.iterdir()) == []


def test_once_the_damaged_image_is_gone_the_store_is_made(root: Path, cache: Path) -> None:
    _text(root / "train" / "dog" / "000.png")
    with pytest.raises(UsageError):
        prepare(folder(str(root)), SIZE, cache, "pets")
    (root / "train" / "dog" / "000.png").unlink()
    assert len(prepare(folder(str(root)), SIZE, cache, "pets").splits["train"]) == 74


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupted_prepare_leaves_nothing(
    root: Path, cache: Path, interruption: type[BaseException]
) -> None:
    source = folder(str(root))
    val = source.splits["val"]

    def interrupted(index: int) -> Image.Image:
        if index == 2:
            raise interruption
        return val.open(index)

    splits = source.splits | {"val": Split(val.names, val.labels, interrupted)}
    with pytest.raises(interruption):
        prepare(Source(source.classes, splits, source.fingerprint), SIZE, cache, "pets")
    assert list(cache.iterdir()) == []


def test_the_first_of_two_simultaneous_prepares_is_kept(root: Path, cache: Path) -> None:
    source = folder(str(root))
    val, others = source.splits["val"], []

    def meanwhile(index: int) -> Image.Image:
        if index == 0:
            others.append(prepare(source, SIZE, cache, "pets"))
        return val.open(index)

    splits = source.splits | {"val": Split(val.names, val.labels, meanwhile)}
    ours = prepare(Source(source.classes, splits, source.fingerprint), SIZE, cache, "pets")
    assert ours.directory == others[0].directory
    assert [path.name for path in cache.iterdir()] == [ours.directory.name]


# What goes wrong with a store that is there


def _rewrite(**changes: Any) -> Callable[[Path], None]:
    def rewrite(directory: Path) -> None:
        path = directory / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return rewrite


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda d: _text(d / "manifest.json"), id="manifest is no JSON"),
        pytest.param(lambda d: (d / "manifest.json").write_text("[]"), id="manifest is a list"),
        pytest.param(lambda d: (d / "manifest.json").write_text("{}"), id="manifest lacks keys"),
        pytest.param(lambda d: (d / "manifest.json").unlink(), id="no manifest"),
        pytest.param(lambda d: _truncate(d / "train.arrow"), id="truncated arrow"),
        pytest.param(lambda d: _empty(d / "train.arrow"), id="empty arrow"),
        pytest.param(lambda d: _text(d / "val.arrow"), id="arrow is text"),
        pytest.param(lambda d: (d / "val.arrow").unlink(), id="no arrow"),
        pytest.param(lambda d: _truncate(d / "statistics.npz"), id="truncated statistics"),
        pytest.param(lambda d: _empty(d / "statistics.npz"), id="empty statistics"),
        pytest.param(lambda d: (d / "statistics.npz").unlink(), id="no statistics"),
        pytest.param(_rewrite(image_size=SIZE - 1), id="wrong size"),
    ],
)
def test_a_damaged_store_is_named_with_what_to_do(
    store: Store, damage: Callable[[Path], None]
) -> None:
    damage(store.directory)
    with pytest.raises(UsageError) as error:
        open_store(store.directory)
    assert str(error.value).startswith(f"{store.directory}: damaged (")
    assert str(error.value).endswith("delete the folder and it is prepared anew")
    assert "\n" not in str(error.value)


def test_another_format_is_named(store: Store) -> None:
    _rewrite(format=99)(store.directory)
    with pytest.raises(UsageError, match=r"format 99, this version reads \d+; delete the folder"):
        open_store(store.directory)


def test_a_deleted_store_is_prepared_anew(store: Store, root: Path, cache: Path) -> None:
    for path in store.directory.iterdir():
        path.unlink()
    store.directory.rmdir()
    anew = prepare(folder(str(root)), SIZE, cache, "pets")
    assert anew.directory == store.directory
    assert len(anew.splits["train"]) == 75
