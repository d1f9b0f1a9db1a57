"""Pooling (§4.4) that remembers which neuron was the largest, and not what it read."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_repro.network.recording import by_torchs_operations

aten = torch.ops.aten


class PoolMaximum(torch.autograd.Function):
    """Max pooling whose way back needs the places of the maxima only.

    ``torch.nn.functional.max_pool2d`` saves its input too, of which the way back reads the shape
    and nothing else: in layer 1 that is as much memory as the maps of conv1.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, stride: int) -> Tensor:
        largest, places = aten.max_pool2d_with_indices(x, [size, size], [stride, stride])
        ctx.save_for_backward(places)
        ctx.of_input = x.shape, x.stride()
        ctx.window = [size, size], [stride, stride], [0, 0], [1, 1], False
        return largest  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        shape, strides = ctx.of_input
        like_input = grad.new_empty_strided(shape, strides)  # never read
        grad_x = aten.max_pool2d_with_indices_backward(grad, like_input, *ctx.window, places)
        return grad_x, None, None


@torch.fx.wrap  # one node of a graph: what is kept depends on the input
def max_pool(x: Tensor, size: Any, stride: Any) -> Tensor:
    """What :class:`MaxPool` computes."""
    if not x.requires_grad or by_torchs_operations(x):
        return functional.max_pool2d(x, size, stride)
    return PoolMaximum.apply(x, size, stride)  # type: ignore[no-any-return]


class MaxPool(nn.MaxPool2d):
    """``torch.nn.MaxPool2d`` without padding, which keeps less for the way back.

    Shape: (batch, maps, height, width) or (maps, height, width) in, as many windows of maps out.
    """

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__(kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        return max_pool(x, self.kernel_size, self.stride)
