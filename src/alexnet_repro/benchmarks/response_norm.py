"""Response normalization alone, beside torch's, at the shapes of conv1 and conv2."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from alexnet_repro import ResponseNorm
from alexnet_repro.benchmarks.report import Measured
from alexnet_repro.benchmarks.step import fastest_device
from alexnet_repro.benchmarks.timing import Contender, interleaved
from alexnet_repro.memory import keep_freed_memory

SHAPES = {"conv1": (96, 55), "conv2": (256, 27)}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


def response_norm(batch_size: int, rounds: int) -> Iterator[Measured]:
    """Forward and backward.

    Args:
        batch_size: images.
        rounds: of timing.
    """
    keep_freed_memory()
    device = fastest_device()
    for layer, (maps, size) in SHAPES.items():
        random = torch.Generator().manual_seed(0)
        a = 20 * torch.randn(batch_size, maps, size, size, generator=random).relu()
        ours, theirs = ResponseNorm(maps, columns=2).to(device), nn.LocalResponseNorm(5, 5e-4, k=2)
        timings = interleaved(
            [
                *(
                    Contender(f"torch, fp32, {name}", _both_ways(theirs, a.to(device), layout))
                    for name, layout in LAYOUTS.items()
                ),
                *(
                    Contender(
                        f"ours, {str(dtype).removeprefix('torch.')}, channels last",
                        _both_ways(ours, a.to(device, dtype), torch.channels_last),
                    )
                    for dtype in (torch.float32, torch.bfloat16)
                ),
            ],
            rounds,
        )
        yield Measured(
            f"Normalizing {layer}: {batch_size}×{maps}×{size}×{size}, forward and backward",
            [timing.row(timings[0]) for timing in timings],
            {"ratio to": timings[0].name},
        )


def _both_ways(norm: nn.Module, a: Tensor, layout: torch.memory_format) -> Callable[[], object]:
    a = a.to(memory_format=layout).requires_grad_()
    gradient = torch.randn_like(a)
    return lambda: torch.autograd.grad(norm(a), a, gradient)
