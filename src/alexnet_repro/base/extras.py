"""The extras of the package: what each brings, and which arguments of a command need one."""

import re
from collections.abc import Iterable
from importlib.util import find_spec

from alexnet_repro.base.errors import UsageError

EXTRAS = {
    "device_stats": ("psutil",),
    "export": ("onnx", "onnxruntime", "onnxscript", "huggingface_hub"),
    "mlflow": ("mlflow",),
    "notebooks": ("jupyterlab",),
    "optuna": ("optuna",),
    "reports": ("wandb_workspaces",),
    "serve": ("starlette", "uvicorn"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher",),
    "tensorboard": ("tensorboard",),
}
"""The modules of each extra."""

PLUGINS = {
    "launcher=slurm": "slurm",
    "hydra/launcher=submitit_": "slurm",
    "sweep=": "optuna",
    "hydra/sweeper=search": "optuna",
    r"callbacks=.*\bdevice_stats\b": "device_stats",
    r"logger=.*\bmlflow\b": "mlflow",
    r"logger=.*\btensorboard\b": "tensorboard",
}
"""How arguments begin, as a pattern, that need an extra."""


def installed(extra: str) -> bool:
    return all(map(_found, EXTRAS[extra]))


def check_plugins(arguments: Iterable[str]) -> None:
    """Raise a UsageError if an argument needs an extra that is not installed."""
    for argument in arguments:
        for beginning, extra in PLUGINS.items():
            if re.match(beginning, argument) and not installed(extra):
                raise UsageError(
                    f"{argument}: {extra} is not installed; pip install 'alexnet-repro[{extra}]'"
                )


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False
