"""The network of a configuration: of this package, or any other ``torch.nn.Module`` by its name.

A user's own configuration may name anything. One that was read from a checkpoint may come from
anybody: it chooses among the networks of this package, and beyond them only what the user trusts.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from alexnet_repro.base.build import CLASSES, TARGET, built_as, located, taken, takes_any
from alexnet_repro.base.errors import UsageError, one_line
from alexnet_repro.network.alexnet import INPUT_SIZE, WINDOWS_SIZE, AlexNet
from alexnet_repro.network.cifar import Cifar13Net, Cifar18Net
from alexnet_repro.network.torchvision_alexnet import TorchvisionAlexNet

NETWORKS: dict[str, type[nn.Module]] = {
    f"alexnet_repro.{network.__name__}": network
    for network in (AlexNet, Cifar13Net, Cifar18Net, TorchvisionAlexNet)
}
"""The networks of this package, which a checkpoint may name."""

Node = Mapping[str, Any]


def sizes(model: Node, classes: int | None = None, input_size: int | None = None) -> dict[str, Any]:
    """The arguments of a network that the data decide, by the names that its signature has.

    Args:
        model: the node of the network; its ``_num_classes_`` names the argument that takes the
            number of classes where it is not ``num_classes``, null that none does.

    Raises:
        UsageError: if the network takes no number of classes and the node does not say so.
    """
    target = located(model, "model")
    name = model.get(CLASSES, "num_classes")
    if name is not None and not (takes_any(target) or taken(target, **{name: None})):
        raise UsageError(
            f"model._target_={model[TARGET]}: it takes no {name}; add model.{CLASSES}=… with the "
            "name of the argument that takes the number of classes, null if there is none"
        )
    own = {} if name is None else {name: classes}
    return own if input_size is None else own | taken(target, input_size=input_size)


def make_network(model: Node, classes: int, input_size: int | None) -> nn.Module:
    """The network of ``model``, for so many classes and images of ``input_size`` pixels a side.

    Raises:
        UsageError: if it cannot be built, or is no ``torch.nn.Module``.
    """
    network = built_as(nn.Module, model, "model", **sizes(model, classes, input_size))
    if model[TARGET] not in NETWORKS and input_size is not None:
        _try_image(network, f"model._target_={model[TARGET]}", classes, input_size)
    return network


def _try_image(network: nn.Module, key: str, classes: int, size: int) -> None:
    """Raises UsageError unless the network makes ``classes`` logits of an image."""
    shape, training = (1, 3, size, size), network.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = network.eval()(torch.zeros(shape))
    except Exception as error:  # it may raise anything
        raise UsageError(
            f"{key}: it does not accept images of shape {shape} ({one_line(error)})"
        ) from error
    network.train(training)
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if found != (1, classes):
        raise UsageError(f"{key}: it maps one image to {found}; expected logits (1, {classes})")


READS = "the network reads 224×224 pixels (§4.5), or Caffe's 227"


def reads(network: Callable[..., Any], model: Node, size: int) -> bool:
    """Whether a network, if it is of this package, reads images of ``size`` pixels a side."""
    if network in (AlexNet, TorchvisionAlexNet):
        return size in (INPUT_SIZE, WINDOWS_SIZE)
    return model.get("input_size") in (None, size)


def built(model: Node, classes: int) -> nn.Module:
    """A network of :data:`NETWORKS` from the ``model`` part of anybody's configuration."""
    options = {key: value for key, value in model.items() if not key.startswith("_")}
    return NETWORKS[model[TARGET]](**options | {"num_classes": classes})


def foreign(
    model: Node, classes: int, input_size: int | None, named: Node, trust: str | None
) -> nn.Module:
    """A network of another package from the ``model`` part of anybody's configuration.

    Of that configuration only plain values are taken.

    Args:
        named: the node as the user names it again; its arguments go before those of ``model``.
        trust: the package of which the configuration may name a function or class.

    Raises:
        UsageError: if it is neither named nor trusted, or cannot be built.
    """
    name = model.get(TARGET)
    arguments = {key: value for key, value in model.items() if key not in named}
    if TARGET not in named and not (trust and f"{name}.".startswith(f"{trust}.")):
        raise UsageError(
            f"its network is {name}, which is not of this package: evaluate, predict and export "
            f"build it if you add trust={str(name).partition('.')[0]}, or name it again with "
            f"model._target_={name}; load_from_checkpoint is given it as network="
        )
    if TARGET not in named:
        # Modules of a package hold names of others, which are not trusted: torchvision.io.os.
        home = getattr(located(model, "model"), "__module__", None)
        if not f"{home}.".startswith(f"{trust}."):
            raise UsageError(f"its network is {name}, which is not defined in {trust}")
    if nested := sorted(key for key, value in arguments.items() if _holds_target(value)):
        raise UsageError(
            f"its model.{nested[0]} names something to be built: name it again with "
            f"model.{nested[0]}._target_=…"
        )
    return make_network({**arguments, **named}, classes, input_size)


def _holds_target(value: Any) -> bool:
    if isinstance(value, Mapping):
        return TARGET in value or any(map(_holds_target, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_target, value))
