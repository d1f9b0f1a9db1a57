"""Weights of torchvision's alexnet, for comparison: its file, and the words of its classes."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet_repro.base.errors import UsageError, first_line
from alexnet_repro.network.torchvision_alexnet import TorchvisionAlexNet
from alexnet_repro.training.checkpoint import READING_ERRORS


def read_torchvision(
    path: Path, options: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """The name, the options of :class:`TorchvisionAlexNet` and the weights of a ``.pth`` file.

    Raises:
        UsageError: if the file cannot be read, or holds another network.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except READING_ERRORS as error:
        told = f"{path}: not a file of weights, or a damaged one ({first_line(error)})"
        raise UsageError(told) from error
    last = weights.get("classifier.6.bias") if isinstance(weights, dict) else None
    if not isinstance(last, Tensor):
        raise UsageError(f"{path}: has no classifier.6.bias; it is not torchvision's alexnet")
    own = options | {"num_classes": len(last)}
    with torch.device("meta"):
        wanted = TorchvisionAlexNet(len(last)).state_dict()
    for name, parameter in wanted.items():
        if name not in weights or weights[name].shape != parameter.shape:
            raise UsageError(f"{path}: {name} is not that of torchvision's alexnet")
    return "torchvision_alexnet", own, {name: weights[name] for name in wanted}


def imagenet_words() -> tuple[str, ...]:
    """What the 1000 classes of ILSVRC-2012 are, in the order of their sorted WordNet ids."""
    from torchvision.models import AlexNet_Weights

    return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])
