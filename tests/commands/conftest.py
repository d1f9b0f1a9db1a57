"""Commands as a user types them: a process of its own in an empty working directory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noise images in as many hues: 8 train, 3 val and 3 test images each."""
    root = tmp_path_factory.mktemp("tiny_images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 3), ("test", 3)):
        for label, name in enumerate(("apple", "banana", "cherry")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 100, (40, 60, 3), dtype=np.uint8)
                pixels[..., label] += 150
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def train(tmp_path: Path, cache: Path) -> Train:
    """Runs ``python -m alexnet_repro.train`` with the given arguments in ``tmp_path``."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "alexnet_repro.train", *arguments],
            cwd=tmp_path,
            env=os.environ | {"ALEXNET_REPRO_CACHE": str(cache)} | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def tiny(tiny_images: Path) -> list[str]:
    """Arguments for a very narrow network on :func:`tiny_images`."""
    network = ["model=alexnet_small", "model.width=0.1"]
    return [*network, "data=folder", f"data.source.root={tiny_images}", "data.batch_size=8"]


@pytest.fixture
def train_tiny(train: Train, tiny: list[str]) -> Train:
    """The command with the arguments of :func:`tiny` and more."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return train(*tiny, *arguments, **environment)

    return run
