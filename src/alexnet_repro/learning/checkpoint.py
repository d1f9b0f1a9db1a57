"""A trained network from its checkpoint, with what it takes to show it new images.

A checkpoint may come from anybody: its tensors and plain values are read, nothing in it is run.
Its configuration is checked like that of a command, and only networks of this package are built, or
those that the user names again or trusts.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from alexnet_repro.base.build import checked
from alexnet_repro.data.augment import Augmentation, AugmentOptions
from alexnet_repro.data.statistics import Statistics
from alexnet_repro.errors import UsageError
from alexnet_repro.learning.checkpoint_file import damage
from alexnet_repro.learning.networks import NETWORKS, built, foreign
from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.network.response_norm import compile_norms

FORMAT = 2
"""Of the checkpoints that are written. Those of format 1 do not say so, and hold the same."""

DATA, NETWORK = "ImageDataModule", "network."
NOTHING: Mapping[str, Any] = MappingProxyType({})
READING_ERRORS = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode and the classes that it tells apart.

    Attributes:
        path: of the checkpoint.
        network: views (B, 3, input, input) → logits (B, classes).
        views: stored images (B, image_size, image_size, 3) uint8 → views, by ``test_views``.
        image_size: pixels a side of stored images.
        classes: their names, in the order of their labels.
        words: what each class is, if the training set said so.
        epoch: epochs that the network was trained for.
        config: of the training run.
    """

    path: Path
    network: nn.Module
    views: Augmentation
    image_size: int
    classes: tuple[str, ...]
    words: tuple[str, ...] | None
    epoch: int
    config: dict[str, Any]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors and plain values of a checkpoint, which stay on disk until they are used.

    Raises:
        UsageError: if it is missing, damaged, or not a checkpoint that this package reads.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such checkpoint")
    if (reason := damage(path)) is not None:
        raise UsageError(f"{path}: not a checkpoint, or a damaged one ({reason})")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except READING_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path}: not a checkpoint, or a damaged one ({reason})") from error
    missing = {"state_dict", "config"} - set(checkpoint if isinstance(checkpoint, dict) else ())
    if missing:
        raise UsageError(
            f"{path}: not a checkpoint of alexnet_repro.train (it has no {min(missing)})"
        )
    if (written_as := checkpoint.get("format", 1)) not in range(1, FORMAT + 1):
        raise UsageError(
            f"{path}: a checkpoint of format {written_as}; this version reads up to {FORMAT}, "
            "take a newer version of alexnet_repro"
        )
    return dict(checkpoint)


def network_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Of a checkpoint, by the names that the network itself gives them."""
    return {
        name.removeprefix(NETWORK): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(NETWORK)
    }


def load_trained(
    path: Path,
    device: torch.device | str = "cpu",
    model: Mapping[str, Any] = NOTHING,
    trust: str | None = None,
) -> Trained:
    """The trained network of a checkpoint, on ``device``.

    A network that is not of this package is built only if the caller says so, in one of two ways.

    Args:
        model: the node of such a network named again, ``{"_target_": "package.Network"}``; what it
            leaves out is as in the checkpoint.
        trust: the package of such a network, ``torchvision``: the checkpoint may name any function
            or class of it.

    Raises:
        UsageError: if the file cannot be read, or its parts do not fit together.
    """
    checkpoint = read_checkpoint(path)
    if DATA not in checkpoint:
        raise UsageError(
            f"{path}: it has neither classes nor mean image, since its data module is not an "
            "ImageDataModule; resume takes it, and ImageClassifier.load_from_checkpoint"
        )
    config, data = checkpoint["config"], checkpoint[DATA]
    try:
        classes = tuple(data["classes"])
        network = _network(path, config["model"], len(classes), data["input_size"], model, trust)
        network.load_state_dict(network_weights(checkpoint))
        compile_norms(network, batches=1)  # who shows it many says so
        views = _views(path, config["augment"], data)
        words = data.get("words")
        return Trained(
            path=path,
            network=network.to(device).to(memory_format=torch.channels_last).eval(),
            views=views.to(device).eval(),
            image_size=data["image_size"],
            classes=classes,
            words=None if words is None else tuple(words),
            epoch=checkpoint["epoch"] + 1,
            config=config,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: its parts do not fit together ({error!r})") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: its weights are not those of its network ({reason})") from error


def _network(
    path: Path,
    model: dict[str, Any],
    classes: int,
    input_size: int,
    named: Mapping[str, Any],
    trust: str | None,
) -> nn.Module:
    if model.get("_target_") not in NETWORKS:
        try:
            return foreign(model, classes, input_size, named, trust)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
    if named:
        raise UsageError(
            f"model.{next(iter(named))}: {path} says itself what its network is, "
            f"{model['_target_']}; leave it out"
        )
    try:
        return built(model, classes)
    except ValueError as error:
        raise UsageError(f"{path}: its configuration is not valid ({error})") from error


def paper_network(trained: Trained) -> AlexNet:
    """The network, if it has the layers of the paper.

    Raises:
        UsageError: if it is another one, kept for comparison.
    """
    if isinstance(trained.network, AlexNet):
        return trained.network
    raise UsageError(
        f"{trained.path}: its network is {type(trained.network).__name__}, which has not the "
        "layers of the paper; evaluate, predict and export take it"
    )


def _views(path: Path, augment: dict[str, Any], data: dict[str, Any]) -> Augmentation:
    try:
        options = AugmentOptions(**checked(AugmentOptions, augment, "augment"))
    except UsageError as error:
        raise UsageError(f"{path}: its configuration is not valid ({error})") from error
    arrays = (data[name].double().numpy() for name in ("mean_image", "eigenvalues", "eigenvectors"))
    return Augmentation(Statistics(*arrays), data["crop_size"], data["input_size"], options)
