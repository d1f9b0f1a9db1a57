"""A small set of images that a network could tell apart."""

from pathlib import Path

import numpy as np
from PIL import Image


def noise_images(root: Path, train: int, others: int = 6) -> Path:
    """Three classes of noise in as many hues: so many to train, val and test of each."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", others), ("test", others)):
        for label, name in enumerate(("apple", "banana", "cherry")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 100, (40, 60, 3), dtype=np.uint8)
                pixels[..., label] += 150
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root
