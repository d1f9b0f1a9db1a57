"""The device that a command without a Trainer computes on."""

from typing import Literal

import torch

from alexnet_repro.base.errors import UsageError


def chosen_device(choice: Literal["auto", "cpu", "gpu"]) -> torch.device:
    """The device that a choice of ``device`` means.

    Raises:
        UsageError: if a GPU is asked for where there is none.
    """
    if choice == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    if choice == "gpu":
        raise UsageError(
            "device gpu: this machine has no GPU that torch can use; auto runs without one"
        )
    return torch.device("cpu")
