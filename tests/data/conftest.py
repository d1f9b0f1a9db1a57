"""Small image folders that several test modules read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture
def image_folder(tmp_path: Path) -> MakeFolder:
    """Write ``{split: {class: images}}`` random PNG files of mixed sizes; returns the root."""

    def write(
        counts: dict[str, dict[str, int]], root: str = "images", sizes: tuple[int, int] = (12, 30)
    ) -> Path:
        random = np.random.default_rng(0)
        top = tmp_path / root
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
def root(image_folder: MakeFolder) -> Path:
    """Eighty images of two classes; those of train fill more than one batch of a shard."""
    return image_folder({"train": {"cat": 40, "dog": 35}, "val": {"cat": 3, "dog": 2}})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
