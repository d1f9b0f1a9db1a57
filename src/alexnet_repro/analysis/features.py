"""The activations of fc6 and fc7, by which images are compared (§7.1)."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet_repro.base.build import built_as
from alexnet_repro.base.console import counting
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import all_of, checksum
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.data.store import Store, StoredSplit
from alexnet_repro.training.checkpoint import Trained, paper_network

Vectors = npt.NDArray[np.float32]

LAYERS = {"fc6": "fc6_dropout", "fc7": "fc7_dropout"}
"""What the next layer reads of each at test: after the ReLU, times 0.5 for the dropout (§5.2)."""


def prepared_images(data: Mapping[str, Any]) -> ImageDataModule:
    """The prepared images of a node of ``data``.

    Raises:
        UsageError: if there are none for training, which others are compared with.
    """
    module = built_as(ImageDataModule, data, "data")
    if "train" not in module.store.splits:
        raise UsageError(f"data: {module.dataset_name} has no training images to compare with")
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


def cached_features(
    trained: Trained, store: Store, split: str, batch_size: int, cache_dir: Path
) -> dict[str, Vectors]:
    """fc6 and fc7 of a split; computed once for the same network and images."""
    images = (store.directory / "manifest.json").read_bytes()
    of_what = hashlib.sha256(checksum(trained.path).encode() + images + split.encode()).hexdigest()
    directory = cache_dir / "features" / of_what[:24]
    paths = {layer: directory / f"{layer}.npy" for layer in LAYERS}
    stored = store.splits[split]
    try:
        return {layer: read_vectors(path, len(stored)) for layer, path in paths.items()}
    except (OSError, ValueError):
        directory.mkdir(parents=True, exist_ok=True)
        batches = features_of_split(trained, stored, batch_size, f"features of {split}")
        write_vectors(paths, len(stored), batches)
    return {layer: read_vectors(path, len(stored)) for layer, path in paths.items()}


def write_vectors(
    paths: Mapping[str, Path], count: int, batches: Iterable[Mapping[str, Vectors]]
) -> None:
    """Write each layer's vectors of ``count`` images, which come in batches, as a ``.npy`` file."""
    with ExitStack() as stack:
        files = {
            layer: stack.enter_context(stack.enter_context(all_of(path)).open("wb"))
            for layer, path in paths.items()
        }
        for number, batch in enumerate(batches):
            for layer, file in files.items():
                if number == 0:
                    header = np.lib.format.header_data_from_array_1_0(batch[layer])
                    header["shape"] = (count, batch[layer].shape[1])
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(np.ascontiguousarray(batch[layer]).data)


def read_vectors(path: Path, count: int) -> Vectors:
    """The vectors of ``count`` images, (images, neurons), which stay on disk until they are used.

    Raises:
        OSError, ValueError: if the file is missing, damaged or of something else.
    """
    with np.errstate(over="ignore"):  # a shape that is a lie is refused, without a warning before
        vectors: Vectors = np.lib.format.open_memmap(path, mode="r")
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != count:
        raise ValueError(f"{path.name} does not hold {count} vectors of 32-bit numbers")
    return vectors
