"""Small image folders that several test modules read."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture(scope="session")
def write_images() -> MakeFolder:
    """Write ``{split: {class: images}}`` random PNG files of mixed sizes; returns their folder."""

    def write(
        top: Path, counts: dict[str, dict[str, int]], sizes: tuple[int, int] = (12, 30)
    ) -> Path:
        random = np.random.default_rng(0)
        for split, classes in counts.items():
            for name, count in classes.items():
                directory = top / split / name
                directory.mkdir(parents=True)
                for i in range(count):
                    height, width = random.integers(*sizes, size=2)
                    pixels = random.integers(256, size=(height, width, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(directory / f"{i:03d}.png")
        return top

    return write


@pytest.fixture
def image_folder(write_images: MakeFolder, tmp_path: Path) -> MakeFolder:
    """The same, in a folder of the test."""

    def write(counts: dict[str, dict[str, int]], root: str = "images", **options: Any) -> Path:
        return write_images(tmp_path / root, counts, **options)

    return write


@pytest.fixture(scope="session")
def eighty_images(write_images: MakeFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two classes; those of train fill more than one batch of a shard."""
    counts = {"train": {"cat": 40, "dog": 35}, "val": {"cat": 3, "dog": 2}}
    return write_images(tmp_path_factory.mktemp("eighty") / "images", counts)


@pytest.fixture
def root(eighty_images: Path, tmp_path: Path) -> Path:
    """A copy of them that a test may change."""
    return shutil.copytree(eighty_images, tmp_path / "images")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
