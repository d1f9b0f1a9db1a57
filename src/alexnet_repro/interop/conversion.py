"""From the file of another program to a checkpoint that every command takes."""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_repro.base.build import described
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import all_of, checksum, user_path
from alexnet_repro.base.record import provenance
from alexnet_repro.data.augment import AugmentOptions
from alexnet_repro.data.store import open_store
from alexnet_repro.data.words import named_classes
from alexnet_repro.interop.caffe import read_caffe
from alexnet_repro.interop.caffe_files import read_mean
from alexnet_repro.interop.torchvision_weights import imagenet_words, read_torchvision
from alexnet_repro.training.checkpoint import DATA, NETWORK, load_trained

log = logging.getLogger(__name__)

IMAGENET_CLASSES, IMAGE_SIZE = 1000, 256


@dataclass(frozen=True)
class Origin:
    """Another program that trained a network.

    Attributes:
        read: from a file and options of the network to its name, options and weights.
        mean_colour: R, G, B, 0-255, where there is no mean image.
        crop_size: of the images that the network was trained on.
    """

    read: Callable[[Path, dict[str, Any]], tuple[str, dict[str, Any], dict[str, Tensor]]]
    mean_colour: tuple[float, float, float]
    crop_size: int


CAFFE = Origin(read_caffe, (122.67891434, 116.66876762, 104.00698793), 227)
TORCHVISION = Origin(read_torchvision, (123.675, 116.28, 103.53), 224)
"""Its mean is 255 times 0.485, 0.456, 0.406."""


def convert(
    origin: Origin,
    config: Mapping[str, Any],
    source: Path,
    output: Path,
    classes: Path | None,
    mean: Path | None,
    crop_size: int,
) -> None:
    """Write a checkpoint that every command takes.

    Args:
        config: ``model`` and ``augment`` of a configuration; what the file says itself goes before.
        source: the other program's file.
        classes: see :func:`class_names`.
        mean: Caffe's ``imagenet_mean.binaryproto``.

    Raises:
        UsageError: for what the user can put right.
    """
    source, output = user_path(source), user_path(output)
    name, model, weights = origin.read(source, described(config["model"], "model"))
    names, words = class_names(classes, model["num_classes"])
    checkpoint = {
        "epoch": -1,  # none of them here
        "state_dict": {f"{NETWORK}{key}": tensor.clone() for key, tensor in weights.items()},
        "config": {
            "model": model | {"num_classes": None},
            "augment": asdict(AugmentOptions(**config["augment"])),
            "data": {"name": "imagenet_2012", "exif_orientation": "ignore"},
            "run_name": name,
            "seed": None,
            "converted": provenance("alexnet_repro.convert")
            | {"source": source.name, "source_sha256": checksum(source)},
        },
        DATA: {
            "classes": list(names),
            "words": None if words is None else list(words),
            "image_size": IMAGE_SIZE,
            "crop_size": crop_size,
            "input_size": crop_size,
            "mean_image": mean_image(mean, origin.mean_colour),
            # Unknown, and only for noise that is added in training.
            "eigenvalues": torch.zeros(3, dtype=torch.float64),
            "eigenvectors": torch.eye(3, dtype=torch.float64),
        },
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    with all_of(output) as unfinished:
        unfinished.write_bytes(content.getbuffer())
        load_trained(unfinished)
    parameters = sum(tensor.numel() for tensor in weights.values())
    log.info("%s: %s, %s parameters, %d classes", source, name, f"{parameters:,}", len(names))
    for line in told(origin, model, crop_size, classes, mean):
        log.info("%s", line)
    log.info("written to %s", output)


def class_names(given: Path | None, count: int) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Names of the classes in the order of their labels, and words for them.

    Args:
        given: a file with a line for each (:func:`words.named_classes`), as Caffe's
            ``synset_words.txt``; or the folder of a prepared store; None: numbers, and for 1000
            classes ImageNet's words.

    Raises:
        UsageError: if it cannot be read, or names a class twice or another number of classes.
    """
    if given is None:
        numbers = tuple(f"{label:04d}" for label in range(count))
        return numbers, imagenet_words() if count == IMAGENET_CLASSES else None
    path = user_path(given)
    if path.is_dir():
        store = open_store(path)
        names, words = store.classes, store.words
    else:
        names, words = named_classes(path, f"--classes {given}")
        words = words and tuple(said.split(",")[0] for said in words)
    if len(names) != count:
        raise UsageError(f"--classes {given}: names {len(names)} classes, the network has {count}")
    return names, words


def mean_image(given: Path | None, colour: Sequence[float]) -> Tensor:
    """What is subtracted from stored images: (256, 256, 3), RGB 0–255.

    Raises:
        UsageError: if the file of a mean image cannot be read, or is of another size.
    """
    if given is None:
        return torch.tensor(colour, dtype=torch.float32).expand(IMAGE_SIZE, IMAGE_SIZE, 3).clone()
    image = torch.from_numpy(read_mean(user_path(given)).copy())
    if image.shape != (IMAGE_SIZE, IMAGE_SIZE, 3):
        raise UsageError(f"--mean {given}: {tuple(image.shape[:2])} pixels, not 256×256")
    return image


def told(
    origin: Origin,
    model: Mapping[str, Any],
    crop_size: int,
    classes: Path | None,
    mean: Path | None,
) -> list[str]:
    """What of the conversion is exact, and what is not."""
    lines = [
        "exact: the same logits for the same pixels"
        if crop_size == origin.crop_size
        else f"not exact: it was trained on {origin.crop_size}×{origin.crop_size} pixels"
    ]
    if origin is CAFFE:
        order = "pools, then normalizes" if model.get("norm_after_pool") else "as in the paper"
        lines.append(f"layers 1 and 2: {order}; α÷n and windows across both columns, as in Caffe")
        lines.append(
            "not exact: photographs are cropped as in §3; Caffe squeezed them into a square"
        )
        if mean is None:
            lines.append(
                "not exact: the mean is a single colour; add --mean imagenet_mean.binaryproto"
            )
    if classes is None:
        lines.append(
            "classes are numbered; to evaluate, add --classes synset_words.txt or a prepared store"
        )
    return lines
