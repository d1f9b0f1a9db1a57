"""The device that a command without a Trainer computes on, and how exactly one computes."""

from typing import Literal

import torch
from torch import nn

from alexnet_repro.base.errors import UsageError


def chosen_device(choice: Literal["auto", "cpu", "gpu"]) -> torch.device:
    """The device that a choice of ``device`` means.

    Raises:
        UsageError: if a GPU is asked for where there is none.
    """
    gpu = torch.accelerator.current_accelerator(check_available=True)
    if gpu is None and choice == "gpu":
        raise UsageError(
            "device gpu: this machine has no GPU that torch can use; auto runs without one"
        )
    return torch.device("cpu") if gpu is None or choice == "cpu" else gpu


def set_fp32_precision(precision: Literal["ieee", "tf32"]) -> None:
    """How a GPU multiplies 32-bit numbers: as they are, or rounded to the 10 bits of TF32.

    cuDNN would round those of convolutions unless it is told not to.
    """
    tf32 = precision == "tf32"
    # Lightning reads the older of torch's two interfaces, which raises where both were used.
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def compile_network(network: nn.Module, on_cpu: bool) -> None:
    """Have what ``network`` computes compiled at its first batches, on a GPU into CUDA graphs."""
    # One code for each size of a batch: of any size it would be slower.
    network.compile(mode=None if on_cpu else "reduce-overhead", dynamic=False)
