"""Real photographs are prepared as they should be.

The archives lie in the folder that the environment variable ALEXNET_REPRO_TEST_DATA names, or in
``../shared/data`` beside the checkout; without them these tests are skipped.
"""

import os
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from alexnet_repro.data.prepare import cached
from alexnet_repro.data.sources import folder
from alexnet_repro.data.store import Store, StoredAs

CHECKOUT = Path(__file__).parents[2]
ARCHIVES = Path(os.environ.get("ALEXNET_REPRO_TEST_DATA", CHECKOUT / ".." / "shared" / "data"))
PER_CLASS = {"train": 4, "val": 2}
CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def archive(name: str) -> Path:
    path = ARCHIVES / name
    if not path.is_file():
        pytest.skip(f"there is no {path}; set ALEXNET_REPRO_TEST_DATA to the archives' folder")
    return path


def few_per_class(names: list[str]) -> list[str]:
    """The first images of every class: names are SET/SPLIT/CLASS/IMAGE."""
    chosen: dict[PurePosixPath, list[str]] = defaultdict(list)
    for name in sorted(names):
        path = PurePosixPath(name)
        split = {"test": "val"}.get(path.parts[1], path.parts[1])
        if len(chosen[path.parent]) < PER_CLASS[split]:
            chosen[path.parent].append(name)
    return [name for names in chosen.values() for name in names]


@pytest.fixture(scope="module", params=["imagenette-224", "imagewoof-320"])
def photographs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Store]:
    """Some images of every class and the store made of them."""
    name, top = request.param, tmp_path_factory.mktemp("photographs")
    with tarfile.open(archive(f"{name}.tar")) as tar:
        images = [member.name for member in tar.getmembers() if member.isfile()]
        members = [tar.getmember(image) for image in few_per_class(images)]
        tar.extractall(top, members, filter="data")
    return top / name, cached(folder(str(top / name)), StoredAs(256), top / "cache", name)


def test_every_class_is_prepared_at_256(photographs: tuple[Path, Store]) -> None:
    root, store = photographs
    assert len(store.classes) == 10
    assert store.classes == tuple(sorted(path.name for path in (root / "train").iterdir()))
    for split, per_class in PER_CLASS.items():
        images = store.splits[split]
        assert images.labels.tolist() == [c for c in range(10) for _ in range(per_class)]
        assert {image.shape for image in images.images()} == {(256, 256, 3)}


def test_the_mean_colour_is_that_of_photographs(photographs: tuple[Path, Store]) -> None:
    _, store = photographs
    # ImageNet's mean colour is about (123, 117, 104); forty images come near it.
    colour = store.statistics.mean_image.mean(axis=(0, 1))
    assert np.abs(colour - (123, 117, 104)).max() < 30
    spread = np.stack(list(store.splits["train"].images())).std()
    assert 45 < spread < 90


def test_the_first_principal_component_is_brightness(photographs: tuple[Path, Store]) -> None:
    _, store = photographs
    values, vectors = store.statistics.eigenvalues, store.statistics.eigenvectors
    assert abs(vectors[:, 0] @ np.ones(3)) / 3**0.5 > 0.98
    assert values[0] > 0.75 * values.sum()


def test_stored_images_are_the_centres_of_the_photographs(photographs: tuple[Path, Store]) -> None:
    root, store = photographs
    val = store.splits["val"]
    for i in range(0, len(val), 5):
        with Image.open(root / val.name(i)) as image:
            rgb = image.convert("RGB")
        shorter = min(rgb.size)
        left, top = (rgb.width - shorter) // 2, (rgb.height - shorter) // 2
        square = np.asarray(rgb)[top : top + shorter, left : left + shorter]
        # Both at an eighth of the size, where another resampling makes little difference.
        small = [
            np.asarray(Image.fromarray(x).resize((32, 32), Image.Resampling.BOX), dtype=int)
            for x in (square, val.image(i))
        ]
        assert np.abs(small[0] - small[1]).mean() < 2, val.name(i)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    top = tmp_path_factory.mktemp("cifar")
    with zipfile.ZipFile(archive("cifar10.zip")) as file:
        for name in few_per_class([name for name in file.namelist() if name.endswith(".webp")]):
            file.extract(name, top)
    root = top / "cifar10"
    (root / "test").rename(root / "val")
    return root, cached(folder(str(root)), StoredAs(32), top / "cache", "cifar10")


def test_cifar10_classes_are_in_their_own_order(cifar: tuple[Path, Store]) -> None:
    _, store = cifar
    assert store.classes == CIFAR10_CLASSES
    assert {split: len(images) for split, images in store.splits.items()} == {
        split: 10 * count for split, count in PER_CLASS.items()
    }


def test_cifar10_pixels_are_stored_unchanged(cifar: tuple[Path, Store]) -> None:
    root, store = cifar
    for images in store.splits.values():
        for i in range(len(images)):
            with Image.open(root / images.name(i)) as image:
                assert np.array_equal(images.image(i), np.asarray(image.convert("RGB")))
