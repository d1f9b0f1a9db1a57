"""AlexNet, as the paper describes it and as the 2012 program did it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet_repro.network.alexnet import AlexNet
    from alexnet_repro.network.cifar import Cifar13Net, Cifar18Net
    from alexnet_repro.network.response_norm import ResponseNorm

__all__ = ["AlexNet", "Cifar13Net", "Cifar18Net", "ResponseNorm"]

_HOMES = {
    "AlexNet": "network.alexnet",
    "Cifar13Net": "network.cifar",
    "Cifar18Net": "network.cifar",
    "ResponseNorm": "network.response_norm",
}


def __getattr__(name: str) -> Any:
    """Import a class of the network when asked for: torch takes seconds, ``--help`` needs none."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
