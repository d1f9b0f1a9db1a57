"""A store holds what preprocessing makes of every image, is made once, and never half."""

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.prepare import cached
from alexnet_repro.data.preprocess import shorter_side_and_centre
from alexnet_repro.data.sources import folder
from alexnet_repro.data.store import Store, StoredAs, StoredSplit, open_store

SIZE = 16


@pytest.fixture(scope="module")
def prepared(eighty_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("prepared")
    return cached(folder(str(eighty_images)), StoredAs(SIZE), cache, "pets").directory


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Store:
    """A copy of one that was prepared."""
    return open_store(shutil.copytree(prepared, tmp_path / "store"))


def test_holds_every_split_with_its_classes(store: Store) -> None:
    assert store.classes == ("cat", "dog")
    assert store.stored_as == StoredAs(SIZE)
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
    pixels = np.stack(list(store.splits["train"].images()))
    np.testing.assert_allclose(store.statistics.mean_image, pixels.mean(axis=0), rtol=1e-12)
    covariance = np.cov(pixels.reshape(-1, 3).T / 255, bias=True)
    expected = np.linalg.eigvalsh(covariance)[::-1]
    np.testing.assert_allclose(store.statistics.eigenvalues, expected, rtol=1e-9)


@pytest.mark.parametrize("size", [9, 13])
def test_sizes_that_fill_no_whole_words_are_stored_too(root: Path, cache: Path, size: int) -> None:
    images = cached(folder(str(root)), StoredAs(size), cache, "pets").splits["val"]
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


def test_a_pickled_split_opens_the_file_again(store: Store) -> None:
    train = store.splits["train"]
    pickled = pickle.dumps(train)
    assert len(pickled) < 2000
    copy = pickle.loads(pickled)
    assert isinstance(copy, StoredSplit)
    assert len(copy) == 75
    assert np.array_equal(copy.image(70), train.image(70))
    assert np.array_equal(copy.labels, train.labels)
    assert copy.name(70) == train.name(70)


# What goes wrong with a store that is there


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _text(path: Path) -> None:
    path.write_text("<html>404</html>")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _one_shard(images: int = 75, **changes: Any) -> dict[str, Any]:
    """The description of a split of one shard, with changes to that of the shard."""
    shard = {"file": "train-00000.arrow", "images": 75, "bytes": 1, "xxh3_128": "0"} | changes
    labels = {"file": "train-labels.npy", "xxh3_128": "0"}
    return {"train": {"images": images, "labels": labels, "shards": [shard]}}


_NO_SHARDS = {"images": 0, "labels": {"file": "train-labels.npy", "xxh3_128": "0"}, "shards": []}


def _rewrite(**changes: Any) -> Callable[[Path], None]:
    def rewrite(directory: Path) -> None:
        path = directory / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return rewrite


def test_a_folder_without_a_manifest_is_not_said_to_be_one_to_delete(store: Store) -> None:
    (store.directory / "manifest.json").unlink()
    with pytest.raises(UsageError) as error:
        open_store(store.directory)
    assert str(error.value) == f"{store.directory}: not a store: there is no manifest.json in it"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda d: _text(d / "manifest.json"), id="manifest is no JSON"),
        pytest.param(lambda d: (d / "manifest.json").write_text("[]"), id="manifest is a list"),
        pytest.param(lambda d: (d / "manifest.json").write_text("{}"), id="manifest lacks keys"),
        pytest.param(lambda d: _truncate(d / "train-00000.arrow"), id="truncated arrow"),
        pytest.param(lambda d: _empty(d / "train-00000.arrow"), id="empty arrow"),
        pytest.param(lambda d: _text(d / "val-00000.arrow"), id="arrow is text"),
        pytest.param(lambda d: (d / "val-00000.arrow").unlink(), id="no arrow"),
        pytest.param(lambda d: _truncate(d / "mean_image.npy"), id="truncated mean image"),
        pytest.param(lambda d: _empty(d / "mean_image.npy"), id="empty mean image"),
        pytest.param(lambda d: (d / "mean_image.npy").unlink(), id="no mean image"),
        pytest.param(_rewrite(image_size=SIZE - 1), id="wrong size"),
        pytest.param(_rewrite(encoding="jpeg"), id="another encoding"),
        pytest.param(_rewrite(statistics={"eigenvalues": [1, 2, 3]}), id="no eigenvectors"),
        pytest.param(_rewrite(classes=["cat", "dog"]), id="classes are no mappings"),
        pytest.param(_rewrite(splits=_one_shard(images=74)), id="count"),
        pytest.param(_rewrite(splits=_one_shard(bytes=99)), id="bytes"),
        pytest.param(_rewrite(splits={"train": _NO_SHARDS}), id="no shards"),
        pytest.param(_rewrite(splits=_one_shard(file="../train-00000.arrow")), id="outside"),
        pytest.param(lambda d: (d / "train-labels.npy").unlink(), id="no labels"),
        pytest.param(lambda d: _truncate(d / "train-labels.npy"), id="truncated labels"),
        pytest.param(lambda d: np.save(d / "train-labels.npy", np.zeros(3)), id="few labels"),
    ],
)
def test_a_damaged_store_is_named_with_what_to_do(
    store: Store, damage: Callable[[Path], None]
) -> None:
    damage(store.directory)
    with pytest.raises(UsageError) as error:
        open_store(store.directory)
    assert str(error.value).startswith(f"{store.directory}: damaged (")
    assert str(error.value).endswith("delete the folder to have it prepared again")
    assert "\n" not in str(error.value)


def test_damage_within_a_shard_is_told_when_it_is_read(store: Store) -> None:
    path = store.directory / "val-00000.arrow"
    content = path.read_bytes()
    path.write_bytes(content[:8] + bytes(2000) + content[2008:])  # what describes its images
    split = open_store(store.directory).splits["val"]
    with pytest.raises(UsageError, match=r"damaged \(val-00000\.arrow: .*; delete the folder"):
        split.image(0)


def test_another_format_is_named(store: Store) -> None:
    _rewrite(format=99)(store.directory)
    with pytest.raises(UsageError, match=r"format 99, this version reads \d+; delete the folder"):
        open_store(store.directory)


def test_what_older_manifests_say_beside_the_components_is_passed_over(store: Store) -> None:
    values = json.loads((store.directory / "manifest.json").read_text())["statistics"]
    more = {"mean_colour": [120.0, 110.0, 100.0], "covariance": [[0.1] * 3] * 3}
    _rewrite(statistics=values | more)(store.directory)
    assert open_store(store.directory).splits.keys() == {"train", "val"}


def test_a_deleted_store_is_prepared_anew(root: Path, cache: Path) -> None:
    store = cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    for path in store.directory.iterdir():
        path.unlink()
    store.directory.rmdir()
    anew = cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert anew.directory == store.directory
    assert len(anew.splits["train"]) == 75


@pytest.mark.parametrize("code", [errno.EACCES, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("file", ["manifest.json", "train-labels.npy", "val-00000.arrow"])
def test_a_store_that_may_not_be_read_is_not_called_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int, file: str
) -> None:
    def refuse(path: Any, *arguments: Any, **named: Any) -> Any:
        if Path(path).name == file:
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *arguments, **named)

    owner, name = {
        "manifest.json": (Path, "read_text"),
        "train-labels.npy": (np, "load"),
        "val-00000.arrow": (pa, "memory_map"),
    }[file]
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(UsageError) as told:
        open_store(store.directory).splits["val"].image(0)
    assert str(told.value).startswith(f"{store.directory / file}: cannot be read (")
    assert "delete" not in str(told.value)
