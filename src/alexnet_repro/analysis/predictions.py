"""The classes that a trained network finds most probable for an image (§7.1, Fig. 4)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from alexnet_repro.analysis.images import Damaged, read_image
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import checksum, user_path
from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.data.words import words_of
from alexnet_repro.network.crops import log_mean, log_probabilities
from alexnet_repro.training.checkpoint import NOTHING, Trained, load_trained
from alexnet_repro.training.device import chosen_device

Crops = Literal["centre", "ten"]


@dataclass(frozen=True)
class Prediction:
    """The classes that a network finds most probable for an image, the first one first.

    Attributes:
        path: of the image.
        labels: of the classes.
        probabilities: of the classes, by softmax.
    """

    path: Path
    labels: tuple[int, ...]
    probabilities: tuple[float, ...]


@torch.no_grad()
def class_probabilities(trained: Trained, images: Tensor, crops: Crops) -> Tensor:
    """Stored images (B, size, size, 3) uint8 → (B, classes): softmax, averaged over ten crops."""
    images = images.to(next(trained.network.parameters()).device)
    views = trained.views.test_views(images, crops)
    return log_mean(log_probabilities(trained.network, views)).exp().cpu()


def predict(
    trained: Trained, paths: Sequence[Path], crops: Crops, top: int, batch_size: int
) -> Iterator[Prediction | Damaged]:
    """The ``top`` classes of every image, in order; of one that cannot be read, why."""
    orientation = trained.config["data"].get("exif_orientation", "ignore")
    for first in range(0, len(paths), batch_size):
        some = paths[first : first + batch_size]
        read = [read_image(path, trained.image_size, orientation) for path in some]
        pixels = [image for image in read if not isinstance(image, Damaged)]
        best = iter(most_probable(trained, pixels, crops, top) if pixels else ())
        for path, image in zip(some, read, strict=True):
            yield image if isinstance(image, Damaged) else Prediction(path, *next(best))


def most_probable(
    trained: Trained, images: Sequence[Pixels], crops: Crops, top: int
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Labels and probabilities of the ``top`` classes of stored images, or of all if fewer."""
    stacked = torch.from_numpy(np.stack(images))
    probabilities, labels = class_probabilities(trained, stacked, crops).topk(
        min(top, len(trained.classes))
    )
    return [
        (tuple(row), tuple(values))
        for row, values in zip(labels.tolist(), probabilities.tolist(), strict=True)
    ]


def trained_network(
    checkpoint: Path,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    words: Path | None = None,
    model: Mapping[str, Any] = NOTHING,
    trust: str | None = None,
) -> Trained:
    """The network of a checkpoint on a device, with the words of a file for its classes."""
    trained = load_trained(user_path(checkpoint), chosen_device(device), model, trust)
    return with_words(trained, None if words is None else user_path(words))


def with_words(trained: Trained, path: Path | None) -> Trained:
    """The same network, with the words of ``path``: a line ``CLASS words`` for each class.

    ImageNet's ``words.txt`` and ``synset_words.txt`` are such files. Only the first of several
    synonyms is taken.

    Raises:
        UsageError: if the file is missing, not text, or lacks a class.
    """
    if path is None:
        return trained
    said = words_of(trained.classes, path, f"--words {path}")
    if missing := [name for name in trained.classes if name not in said]:
        raise UsageError(f"--words {path}: has no line for the class {missing[0]}")
    words = tuple(said[name].split(",")[0] for name in trained.classes)
    return replace(trained, words=words)


def class_text(trained: Trained, label: int) -> str:
    """What a class is, in words; its name if the training set had no words."""
    return trained.classes[label] if trained.words is None else trained.words[label]


def class_rows(trained: Trained, prediction: Prediction) -> list[dict[str, Any]]:
    """The classes of a prediction by name, for a table or JSON."""
    names = [{"class": name} for name in trained.classes]
    if trained.words is not None:
        names = [name | {"words": said} for name, said in zip(names, trained.words, strict=True)]
    pairs = zip(prediction.labels, prediction.probabilities, strict=True)
    return [names[label] | {"probability": share} for label, share in pairs]


def described(trained: Trained) -> dict[str, Any]:
    """The network for a record, with the settings by which reports distinguish networks."""
    return {
        "checkpoint_sha256": checksum(trained.path),
        "experiment": trained.config["run_name"],
        "data": trained.config["data"]["name"],
        "epochs": trained.epoch,
        "seed": trained.config["seed"],
        "config": {key: value for key, value in trained.config.items() if key != "logger"},
    }
