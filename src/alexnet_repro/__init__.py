"""AlexNet, as the paper describes it and as the 2012 program did it."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alexnet_repro.columns.strategy import ColumnPipelineStrategy
    from alexnet_repro.data.augment import AugmentOptions
    from alexnet_repro.data.datamodule import ImageDataModule
    from alexnet_repro.data.sources import Source, Split
    from alexnet_repro.interop.classifier import Classifier
    from alexnet_repro.interop.hub import HubClassifier
    from alexnet_repro.network.alexnet import AlexNet, Dropout
    from alexnet_repro.network.cifar import Cifar13Net, Cifar18Net
    from alexnet_repro.network.layers import ResponseNorm
    from alexnet_repro.network.torchvision_alexnet import TorchvisionAlexNet
    from alexnet_repro.training.checkpoint import Trained, load_trained
    from alexnet_repro.training.module import ImageClassifier
    from alexnet_repro.training.schedule import EpochSchedule, PlateauSchedule
    from alexnet_repro.training.sgd import PaperSGD, paper_sgd

if sys.version_info < (3, 11):  # noqa: UP036 - from a checkout, where pip does not look
    major, minor = sys.version_info[:2]
    raise SystemExit(
        f"error: alexnet_repro needs Python 3.11 or newer, this is {major}.{minor}; "
        "python3.11 -m venv .venv makes an environment with it"
    )

__all__ = [
    "AlexNet",
    "AugmentOptions",
    "Cifar13Net",
    "Cifar18Net",
    "Classifier",
    "ColumnPipelineStrategy",
    "Dropout",
    "EpochSchedule",
    "HubClassifier",
    "ImageClassifier",
    "ImageDataModule",
    "PaperSGD",
    "PlateauSchedule",
    "ResponseNorm",
    "Source",
    "Split",
    "TorchvisionAlexNet",
    "Trained",
    "load_trained",
    "paper_sgd",
]

_HOMES = {
    "AlexNet": "network.alexnet",
    "AugmentOptions": "data.augment",
    "Cifar13Net": "network.cifar",
    "Cifar18Net": "network.cifar",
    "Classifier": "interop.classifier",
    "ColumnPipelineStrategy": "columns.strategy",
    "Dropout": "network.alexnet",
    "EpochSchedule": "training.schedule",
    "HubClassifier": "interop.hub",
    "ImageClassifier": "training.module",
    "ImageDataModule": "data.datamodule",
    "PaperSGD": "training.sgd",
    "PlateauSchedule": "training.schedule",
    "ResponseNorm": "network.layers",
    "Source": "data.sources",
    "Split": "data.sources",
    "TorchvisionAlexNet": "network.torchvision_alexnet",
    "Trained": "training.checkpoint",
    "load_trained": "training.checkpoint",
    "paper_sgd": "training.sgd",
}


def __getattr__(name: str) -> Any:
    """Import what the package offers when asked for: torch takes seconds, ``--help`` needs none."""
    if name == "__version__":
        from alexnet_repro.base.record import version_of

        # Of a checkout that is not installed, as of torch.hub, there is none.
        return version_of("alexnet-repro") or "unknown"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
