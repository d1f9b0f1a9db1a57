"""Weights to start from: those of another checkpoint, where the layers fit (CNN*, §7).

A run that is resumed starts from a checkpoint of its own, and everything in it has to fit.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alexnet_repro.errors import UsageError
from alexnet_repro.learning.checkpoint import DATA, network_weights, read_checkpoint

log = logging.getLogger(__name__)

LAST = "fc8"


@torch.no_grad()
def start_from(
    path: Path, network: nn.Module, classes: Sequence[str], layers: Sequence[str] | None
) -> None:
    """Copy the weights of a checkpoint into ``network``, and say which layers kept their own.

    Layers that the checkpoint does not have stay as they were drawn, and so does fc8 unless the
    checkpoint tells the same classes apart, in the same order.

    Args:
        classes: of the data that the network is trained on.
        layers: those to copy, such as conv1; None for all.

    Raises:
        UsageError: if the checkpoint cannot be read, a layer has another shape, or there is no
            such layer.
    """
    checkpoint = read_checkpoint(path)
    found = network_weights(checkpoint)
    own = dict(network.named_parameters())
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in own))
    if unknown := set(layers or ()) - set(names):
        raise UsageError(
            f"init_layers: the network has no layer {min(unknown)}; it has {', '.join(names)}"
        )
    same_classes = list(checkpoint.get(DATA, {}).get("classes", ())) == list(classes)
    taken = [
        layer
        for layer in names
        if f"{layer}.weight" in found
        and (layers is None or layer in layers)
        and (layer != LAST or same_classes)
    ]
    if not taken:
        raise UsageError(f"init_from={path}: none of its layers is one of this network")
    for name, parameter in own.items():
        if name.rpartition(".")[0] in taken:
            parameter.copy_(_fitting(path, name, parameter, found))
    drawn = [layer for layer in names if layer not in taken]
    log.info("from %s: %s; drawn anew: %s", path, ", ".join(taken), ", ".join(drawn) or "none")


def check_resume(path: Path, network: nn.Module, classes: Sequence[str]) -> None:
    """Raises UsageError unless the training of ``network`` can go on from this checkpoint.

    Args:
        classes: of the data that the network is trained on.
    """
    checkpoint = read_checkpoint(path)
    if missing := {"loops", "callbacks", "optimizer_states"} - checkpoint.keys():
        raise UsageError(
            f"resume={path}: it holds weights without the state of a training (no {min(missing)}); "
            "start from them with init_from="
        )
    # A data module of somebody else's may leave nothing of its own in a checkpoint.
    there = list(checkpoint.get(DATA, {}).get("classes", ()))
    if there != list(classes) and there and classes:
        raise UsageError(
            f"resume={path}: it tells {len(there)} other classes apart than the {len(classes)} of "
            "the data; resume on the same data, or start from its weights with init_from="
        )
    found, own = network_weights(checkpoint), dict(network.state_dict())
    for name in sorted(found.keys() | own.keys()):
        one, other = (_size(w[name]) if name in w else "missing" for w in (found, own))
        if one != other:
            raise UsageError(
                f"resume={path}: its {name} is {one}, that of this network {other}; the keys of "
                "model must be those of the run"
            )


def _fitting(path: Path, name: str, parameter: nn.Parameter, found: dict[str, Any]) -> torch.Tensor:
    tensor: torch.Tensor | None = found.get(name)
    if tensor is None or tensor.shape != parameter.shape:
        there = "missing" if tensor is None else _size(tensor)
        raise UsageError(
            f"init_from={path}: its {name} is {there}, that of this network {_size(parameter)}; "
            "model.width, model.columns and the layers must be those of the checkpoint"
        )
    return tensor


def _size(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape))
