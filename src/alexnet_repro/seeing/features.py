"""The activations of fc6 and fc7, by which images are compared (§7.1, §7.1)."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet_repro.console import counting
from alexnet_repro.data.datamodule import ImageDataModule, stored_images
from alexnet_repro.data.store import Store, StoredSplit
from alexnet_repro.learning.checkpoint import Trained, paper_network
from alexnet_repro.results.record import checksum

Vectors = npt.NDArray[np.float32]

Arrays = dict[str, npt.NDArray[Any]]

LAYERS = {"fc6": "fc6_dropout", "fc7": "fc7_dropout"}
"""What the next layer reads of each at test: after the ReLU, times 0.5 for the dropout (§5.2)."""


def labelled_images(data: Mapping[str, Any], trained: Trained) -> ImageDataModule:
    """The prepared images of the ``data`` part of a configuration."""
    module = stored_images(data)
    module.prepare_data()
    return module


def class_words(store: Store, trained: Trained) -> tuple[str, ...]:
    """What the classes of ``store`` are: the network's own words for those that it knows."""
    known = dict(zip(trained.classes, trained.words or trained.classes, strict=True))
    return tuple(
        known.get(name, said)
        for name, said in zip(store.classes, store.words or store.classes, strict=True)
    )


@torch.no_grad()
def features(trained: Trained, images: Tensor) -> dict[str, Tensor]:
    """Stored images (B, size, size, 3) uint8 → fc6 and fc7, each (B, neurons), of the centre crop.

    Images stored in another size than the network's own, such as those of CIFAR-10, are enlarged or
    reduced to it (bilinear).

    Raises:
        UsageError: if the network is not the paper's.
    """
    images = images.to(next(trained.network.parameters()).device)
    if images.shape[1] != trained.image_size:
        size = (trained.image_size, trained.image_size)
        resized = nn.functional.interpolate(
            images.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True
        )
        images = resized.permute(0, 2, 3, 1)
    (x,) = trained.views.test_views(images, "centre")
    found: dict[str, Tensor] = {}
    for name, module in paper_network(trained).named_children():
        x = module(x)
        for layer, output in LAYERS.items():
            if name == output:
                found[layer] = x.float().cpu()
        if len(found) == len(LAYERS):
            break
    return found


def features_of_split(
    trained: Trained, split: StoredSplit, batch_size: int, title: str
) -> Iterator[dict[str, Vectors]]:
    """fc6 and fc7 of a split's images, a batch at a time, in its order."""
    with counting(title, len(split), "images") as advance:
        for first in range(0, len(split), batch_size):
            rows = range(first, min(first + batch_size, len(split)))
            images = torch.from_numpy(np.stack([split.image(i) for i in rows]))
            yield {layer: x.numpy() for layer, x in features(trained, images).items()}
            advance(len(rows))


@dataclass(frozen=True)
class SplitFeatures:
    """The features of all images of a split, in its order: (images, neurons) each."""

    fc6: Vectors
    fc7: Vectors


def cached_features(
    trained: Trained, store: Store, split: str, batch_size: int, cache_dir: Path
) -> SplitFeatures:
    """The features of a split; computed once for the same network and images."""
    images = (store.directory / "manifest.json").read_bytes()
    of_what = hashlib.sha256(checksum(trained.path).encode() + images + split.encode()).hexdigest()

    def compute() -> dict[str, Vectors]:
        title = f"features of {split}"
        batches = list(features_of_split(trained, store.splits[split], batch_size, title))
        return {layer: np.concatenate([batch[layer] for batch in batches]) for layer in LAYERS}

    return SplitFeatures(**cached_arrays(cache_dir, of_what, compute))


def cached_arrays(cache_dir: Path, of_what: str, compute: Callable[[], Arrays]) -> Arrays:
    """What ``compute`` returns, kept under ``cache_dir`` by the hexadecimal name ``of_what``."""
    path = cache_dir / "features" / f"{of_what[:24]}.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink()
    found = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    with unfinished.open("wb") as output:
        np.savez(output, **found)  # type: ignore[arg-type]
    unfinished.replace(path)
    return found
