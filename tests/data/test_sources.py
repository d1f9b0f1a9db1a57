"""Sources find the labelled images that are there, and say in one line what is wrong."""

import errno
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from alexnet_repro.base.build import build
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data import miniature as miniature_ilsvrc
from alexnet_repro.data import sources
from alexnet_repro.data.listing import is_image
from alexnet_repro.data.sources import cifar10, folder, imagenette, miniature
from alexnet_repro.data.words import WORDS_FILES

MakeFolder = Callable[..., Path]
COUNTS = {"train": {"dog": 2, "cat": 3}, "val": {"cat": 1, "dog": 1}}


@pytest.fixture
def root(image_folder: MakeFolder) -> Path:
    return image_folder(COUNTS)


def test_classes_are_the_folders_of_train_in_order(root: Path) -> None:
    source = folder(str(root))
    assert source.classes == ("cat", "dog")
    assert source.splits["train"].labels == [0, 0, 0, 1, 1]
    assert list(source.splits["val"].names) == ["val/cat/000.png", "val/dog/000.png"]


def test_images_open_as_they_are(root: Path) -> None:
    source = folder(str(root))
    for split in source.splits.values():
        for i, name in enumerate(split.names):
            with split.open(i) as opened, Image.open(root / name) as expected:
                assert np.array_equal(np.asarray(opened), np.asarray(expected))


def test_test_is_a_split_only_if_it_is_there(root: Path, image_folder: MakeFolder) -> None:
    assert set(folder(str(root)).splits) == {"train", "val"}
    with_test = image_folder(COUNTS | {"test": {"cat": 2}}, root="with test")
    assert folder(str(with_test)).splits["test"].labels == [0, 0]


def test_a_tilde_is_the_home_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(folder(f"~/{root.name}").splits["train"].names) == 5


def test_images_in_folders_below_a_class_are_found(root: Path) -> None:
    (root / "train" / "cat" / "kittens").mkdir()
    Image.new("RGB", (9, 9)).save(root / "train" / "cat" / "kittens" / "a.JPEG")
    names = folder(str(root)).splits["train"].names
    assert "train/cat/kittens/a.JPEG" in names
    assert len(names) == 6


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *[("a.JPEG", "RGB"), ("a.jpg", "L"), ("a.jpeg", "CMYK"), ("a.PNG", "RGBA")],
        *[("a.png", "P"), ("a.webp", "RGB"), ("a.gif", "P"), ("a.bmp", "RGB"), ("a.tif", "L")],
    ],
)
def test_common_formats_and_modes_are_read(root: Path, name: str, mode: str) -> None:
    Image.new(mode, (30, 20)).save(root / "train" / "cat" / name)
    train = folder(str(root)).splits["train"]
    with train.open(list(train.names).index(f"train/cat/{name}")) as image:
        assert image.convert("RGB").size == (30, 20)


@pytest.mark.parametrize(
    "name",
    [
        *["train/cat/.hidden.png", "train/cat/._000.png", "train/cat/notes.txt"],
        *["train/cat/Thumbs.db", "train/README", "train/cat/no_extension", "train/.DS_Store"],
        *["train/cat/.thumbnails/000.png", "train/.ipynb_checkpoints/000.png"],
        *["val/.ipynb_checkpoints/000.png", "extra/000.png"],
    ],
)
def test_hidden_and_other_files_are_ignored(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((root / "train" / "cat" / "000.png").read_bytes())
    source = folder(str(root))
    assert source.classes == ("cat", "dog")
    assert {split: len(s.names) for split, s in source.splits.items()} == {"train": 5, "val": 2}


def test_the_fingerprint_follows_the_files(root: Path) -> None:
    prints = [folder(str(root)).fingerprint]
    assert folder(str(root)).fingerprint == prints[0]
    path = root / "val" / "dog" / "000.png"
    path.rename(path.with_name("renamed.png"))
    prints.append(folder(str(root)).fingerprint)
    Image.new("RGB", (50, 50)).save(path.with_name("renamed.png"))
    prints.append(folder(str(root)).fingerprint)
    Image.new("RGB", (50, 50)).save(path.with_name("another.png"))
    prints.append(folder(str(root)).fingerprint)
    assert len(set(prints)) == 4


def test_the_fingerprint_does_not_depend_on_where_the_folder_lies(root: Path) -> None:
    before = folder(str(root)).fingerprint
    root.rename(root.with_name("moved"))
    assert folder(str(root.with_name("moved"))).fingerprint == before


# Mistakes


def test_a_missing_validation_split_is_named_with_what_can_be_done(
    image_folder: MakeFolder,
) -> None:
    root = image_folder({"train": COUNTS["train"]})
    with pytest.raises(UsageError) as error:
        folder(str(root))
    message = str(error.value)
    assert message.startswith(f"data.source.root={root}: there is no folder {root / 'val'}")
    for way in ("validation, valid, dev", "data.source.val_fraction=0.1", "data.source.val=NAME"):
        assert way in message
    assert "data.source.val=test" not in message
    assert "\n" not in message
    image_folder({"test": COUNTS["val"]})
    with pytest.raises(UsageError, match=r"data\.source\.val=test takes the test images"):
        folder(str(root))
    as_val = folder(str(root), val="test")
    assert as_val.splits["val"].names == as_val.splits["test"].names


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.source\.root=.*nowhere: there is no folder"):
        folder(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_that_train_lacks_is_named(image_folder: MakeFolder, split: str) -> None:
    root = image_folder({"val": {"cat": 1}} | COUNTS | {split: {"cat": 1, "ferret": 1}})
    with pytest.raises(UsageError, match=rf"{split}: class folder 'ferret' does not exist under t"):
        folder(str(root))


def test_one_class_is_too_few(image_folder: MakeFolder) -> None:
    root = image_folder({"train": {"cat": 2}, "val": {"cat": 1}})
    with pytest.raises(UsageError, match="train: found 1 class folders; at least two are needed"):
        folder(str(root))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_images_is_named(image_folder: MakeFolder, split: str) -> None:
    root = image_folder(COUNTS | {split: {"cat": 0, "dog": 0}})
    with pytest.raises(UsageError, match=f"{split}: found no images in its class folders"):
        folder(str(root))


# The miniature set


def test_miniature_is_rendered_once_by_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image_folder: MakeFolder
) -> None:
    rendered: list[tuple[Path, int]] = []

    def generate(directory: Path, seed: int) -> Path:
        rendered.append((directory, seed))
        return image_folder(COUNTS, root=f"rendered {seed}")

    monkeypatch.setattr(miniature_ilsvrc, "generate", generate)
    first, second = (miniature(str(tmp_path / "miniature"), seed) for seed in (0, 1))
    assert rendered == [
        (tmp_path / "miniature" / "seed0", 0),
        (tmp_path / "miniature" / "seed1", 1),
    ]
    assert first.classes == second.classes == ("cat", "dog")


# Downloads, without a network

NO_NETWORK = [URLError("no route to host"), RuntimeError("File not found or corrupted.")]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make torchvision's data sets absent, and their download fail."""

    def fail(error: Exception) -> None:
        def dataset(*arguments: Any, download: bool = False, **keywords: Any) -> None:
            raise error if download else RuntimeError("Dataset not found or corrupted.")

        for name in ("CIFAR10", "Imagenette"):
            monkeypatch.setattr(torchvision.datasets, name, dataset)

    return fail


@pytest.mark.parametrize("error", NO_NETWORK, ids=["URLError", "RuntimeError"])
@pytest.mark.parametrize("name", ["cifar10", "imagenette"])
def test_a_failed_download_is_told_in_one_line(
    tmp_path: Path, no_network: Callable[[Exception], None], name: str, error: Exception
) -> None:
    no_network(error)
    options = {"size": "320px"} if name == "imagenette" else {}
    with pytest.raises(UsageError) as told:
        getattr(sources, name)(str(tmp_path / "downloads"), **options)
    message = str(told.value)
    assert message.startswith(f"data={name}: it is not in {tmp_path / 'downloads'}")
    assert str(error) in message
    assert "data.source.root" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("size", "directory"),
    [("full", "imagenette2"), ("320px", "imagenette2-320"), ("160px", "imagenette2-160")],
)
def test_imagenette_that_is_there_is_not_downloaded(
    image_folder: MakeFolder,
    no_network: Callable[[Exception], None],
    size: str,
    directory: str,
) -> None:
    no_network(AssertionError("a download was tried"))
    root = image_folder(COUNTS, root=f"downloads/{directory}").parent
    source = imagenette(str(root), size)
    assert [len(split.names) for split in source.splits.values()] == [5, 2]


def test_a_size_that_imagenette_lacks_is_named(tmp_path: Path) -> None:
    node = {"_target_": "alexnet_repro.data.sources.imagenette", "root": str(tmp_path)}
    with pytest.raises(UsageError, match=r"^data\.source\.size=320: input should be 'full', "):
        build(node | {"size": "320"}, "data.source")


@pytest.fixture
def cifar_there(monkeypatch: pytest.MonkeyPatch) -> dict[bool, Any]:
    """Three training and two test images, as torchvision holds them."""
    random = np.random.default_rng(0)
    there = {
        train: SimpleNamespace(
            data=random.integers(256, size=(count, 32, 32, 3), dtype=np.uint8),
            targets=labels,
            classes=["airplane", "automobile"],
        )
        for train, count, labels in ((True, 3, [1, 0, 1]), (False, 2, [0, 1]))
    }

    def dataset(root: Path, train: bool = True, download: bool = False) -> Any:
        assert not download
        return there[train]

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", dataset)
    return there


def test_cifar10_is_read_as_it_is(tmp_path: Path, cifar_there: dict[bool, Any]) -> None:
    source = cifar10(str(tmp_path))
    assert source.classes == ("airplane", "automobile")
    assert set(source.splits) == {"train", "val"}
    for split, train in (("train", True), ("val", False)):
        images = source.splits[split]
        assert images.labels == cifar_there[train].targets
        for i, expected in enumerate(cifar_there[train].data):
            assert np.array_equal(np.asarray(images.open(i)), expected)
    assert list(source.splits["val"].names) == ["test/0", "test/1"]


def test_the_fingerprint_of_cifar10_follows_its_pixels(
    tmp_path: Path, cifar_there: dict[bool, Any]
) -> None:
    before = cifar10(str(tmp_path)).fingerprint
    assert cifar10(str(tmp_path)).fingerprint == before
    cifar_there[False].data[1, 3, 4, 0] += 1
    assert cifar10(str(tmp_path)).fingerprint != before


# Classes that are none, and files that are no images


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(path)


def empty(top: Path) -> str:
    (top / "ferret").mkdir()
    return "it is empty"


def of_texts(top: Path) -> str:
    (top / "ferret").mkdir()
    (top / "ferret" / "list.txt").touch()
    return r"it holds list\.txt, which is no image"


def of_heic(top: Path) -> str:
    (top / "ferret").mkdir()
    (top / "ferret" / "a.heic").touch()
    return r"it holds a\.heic, which is no image"


def without_extensions(top: Path) -> str:
    photo(top / "ferret" / "a.png")
    (top / "ferret" / "a.png").rename(top / "ferret" / "0a1b2c")
    return "it holds 0a1b2c, which is no image"


def of_a_linked_folder(top: Path) -> str:
    (top / "ferret").mkdir()
    (top / "ferret" / "more").symlink_to(top / "cat")
    return "it holds more, which is no image"


def of_broken_links(top: Path) -> str:
    (top / "ferret").mkdir()
    (top / "ferret" / "a.png").symlink_to(top / "gone.png")
    return r"it holds a\.png, which is no image"


@pytest.mark.parametrize(
    "folder_without_images",
    [empty, of_texts, of_heic, without_extensions, of_a_linked_folder, of_broken_links],
)
def test_a_class_without_training_images_is_refused_and_why(
    root: Path, folder_without_images: Callable[[Path], str]
) -> None:
    why = folder_without_images(root / "train")
    expected = rf"train/ferret: the class has no training images \({why}\)"
    with pytest.raises(UsageError, match=expected):
        folder(str(root))


def test_a_source_of_ones_own_has_training_images_of_every_class() -> None:
    split = sources.Split(["a"], [0], lambda i: Image.new("RGB", (9, 9)))
    with pytest.raises(UsageError, match="1 classes have no training images, dog the first"):
        sources.Source(("cat", "dog"), {"train": split, "val": split}, "x")
    assert sources.Source(("cat", "dog"), {"test": split}, "x").without("test") == ["dog"]


@pytest.mark.parametrize("name", [".git", "__MACOSX", "@eaDir", "lost+found", ".ipynb_checkpoints"])
def test_folders_of_systems_are_no_classes_and_are_told(root: Path, name: str, caplog: Any) -> None:
    for above in ("train", "val", "train/cat"):
        photo(root / above / name / "000.png")
    with caplog.at_level("INFO"):
        source = folder(str(root))
    assert source.classes == ("cat", "dog")
    assert len(source.splits["train"].names) == 5
    assert f"skipped 3 hidden or system files ({name})" in caplog.text.replace("cat/", "")


def test_what_is_passed_over_is_told_in_one_line(root: Path, caplog: Any) -> None:
    (root / "train" / "cat" / "notes.txt").touch()
    (root / "val" / "dog" / "a.heic").touch()
    (root / "train" / "cat" / "more").symlink_to(root / "train" / "dog")
    (root / "train" / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    with caplog.at_level("INFO"):
        folder(str(root))
    assert caplog.messages == [
        f"{root}: skipped 1 links to nowhere or devices (cat/gone.png); 1 links to "
        "folders (cat/more); 2 files without the extension of an image (cat/notes.txt)"
    ]


def test_a_folder_that_cannot_be_entered_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, scandir = root / "train" / "cat", os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=str(closed)):
        folder(str(root))


def test_folders_of_one_name_in_two_forms_of_unicode_are_one_class_or_refused(
    image_folder: MakeFolder,
) -> None:
    composed, apart = "B\u00e4r", "Ba\u0308r"
    both = {"train": {apart: 2, "dog": 1}, "val": {composed: 1}, "test": {apart: 1}}
    source = folder(str(image_folder(both)))
    assert source.classes == (composed, "dog")
    assert [list(source.splits[split].labels) for split in both] == [[0, 0, 1], [0], [0]]
    image_folder({"train": {composed: 1}})
    with pytest.raises(UsageError, match="there is another folder of that name"):
        folder(str(image_folder({}, root="images")))


def test_classes_that_differ_in_case_only_are_told(image_folder: MakeFolder, caplog: Any) -> None:
    root = image_folder({"train": {"Cat": 1, "cat": 1}, "val": {"cat": 1}})
    assert folder(str(root)).classes == ("Cat", "cat")
    assert f"{root / 'train'}: the classes Cat and cat differ in case only" in caplog.text


# Sets without a validation split, or with another name for it


@pytest.mark.parametrize("name", ["valid", "validation", "Val", "dev"])
def test_a_split_goes_by_several_names(image_folder: MakeFolder, name: str) -> None:
    root = image_folder({"Training": COUNTS["train"], name: COUNTS["val"]})
    assert {s: len(i.names) for s, i in folder(str(root)).splits.items()} == {"train": 5, "val": 2}


def test_two_folders_that_may_be_one_split_are_told(image_folder: MakeFolder) -> None:
    root = image_folder(COUNTS | {"valid": COUNTS["val"]})
    with pytest.raises(UsageError, match=r"val and valid may both be the val images; add data\."):
        folder(str(root))
    names = folder(str(root), val="valid").splits["val"].names
    assert all(name.startswith("valid/") for name in names)


@pytest.mark.parametrize("splits", [True, False])
def test_validation_images_are_the_documented_draw(image_folder: MakeFolder, splits: bool) -> None:
    classes = {"cat": 10, "dog": 20}
    root = image_folder({"train" if splits else ".": classes})
    source = folder(str(root), val_fraction=0.3, split_seed=7)
    assert source.drawn == {"val_fraction": 0.3, "split_seed": 7}
    above = "train/" if splits else ""
    expected = [
        f"{above}{name}/{i:03d}.png"
        for name, count in classes.items()
        for i in sorted(
            np.random.default_rng([7, zlib.crc32(name.encode())]).permutation(count)[
                : round(0.3 * count)
            ]
        )
    ]
    assert list(source.splits["val"].names) == expected
    assert source.splits["val"].labels == [0] * 3 + [1] * 6
    assert len({*source.splits["train"].names, *expected}) == 30
    assert len(source.splits["train"].names) == 21


def test_another_draw_is_another_set(image_folder: MakeFolder) -> None:
    root = str(image_folder({"train": {"cat": 10, "dog": 20}}))
    draws = [(0.1, 0), (0.2, 0), (0.1, 1)]
    sets = [folder(root, val_fraction=share, split_seed=seed) for share, seed in draws]
    assert len({one.fingerprint for one in sets}) == 3


def test_nothing_is_drawn_where_there_are_validation_images(root: Path) -> None:
    with pytest.raises(UsageError, match=r"val_fraction: .* and holds train, val"):
        folder(str(root), val_fraction=0.1)


def test_classes_alone_are_test_images(image_folder: MakeFolder) -> None:
    source = folder(str(image_folder({".": {"cat": 1, "dog": 2}})))
    assert {name: list(split.labels) for name, split in source.splits.items()} == {
        "test": [0, 1, 1]
    }


# What classes are


@pytest.mark.parametrize("name", WORDS_FILES)
def test_words_are_those_of_a_file_beside_the_splits(root: Path, name: str) -> None:
    (root / name).write_text("\ufeffcat tabby, tabby cat\ndog\tgreat white dog\nother one\n")
    assert folder(str(root)).words == ("tabby, tabby cat", "great white dog")


def test_words_may_be_given_and_then_need_every_class(root: Path, tmp_path: Path) -> None:
    given = tmp_path / "mine.txt"
    given.write_text("cat tabby\n")
    with pytest.raises(UsageError, match=r"data\.source\.words=.*: has no line for the class dog"):
        folder(str(root), words=str(given))
    given.write_text("cat tabby\ndog setter\n")
    assert folder(str(root), words=str(given)).words == ("tabby", "setter")
    (root / "words.txt").write_text("cat tabby\n")
    assert folder(str(root)).words is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[("a.jpg", True), ("a.JPEG", True), ("a/b.c.png", True), ("a.b/c.webp", True)],
        *[("jpg", False), ("a.jpg/b", False), ("a.pdf", False), ("a.heic", False), ("a.", False)],
    ],
)
def test_the_extension_says_what_is_an_image(name: str, expected: bool) -> None:
    assert is_image(name) == expected
