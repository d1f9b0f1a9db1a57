"""The training step that benchmarks time, and the device that they time it on."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer


def fastest_device() -> torch.device:
    """A CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_once(
    forward: Callable[[Tensor], Tensor],
    optimizer: Optimizer,
    images: Tensor,
    label: Tensor,
    bf16: bool,
) -> None:
    """Forward, backward and update on one batch; with ``bf16`` where that is safe."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        logits = forward(images)
    cross_entropy(logits.float(), label).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
