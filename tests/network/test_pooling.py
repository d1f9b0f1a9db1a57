"""Pooling is torch's, and keeps less."""

import pytest
import torch
from torch import nn

from alexnet_repro.network.layers import MaxPool

SAVED = torch.autograd.graph.saved_tensors_hooks


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_torchs_pooling_forward_and_backward(
    size: int, layout: torch.memory_format, dtype: torch.dtype
) -> None:
    # Few values, so that windows have several maxima: which of them gets the gradient is told too.
    x = torch.randint(0, 3, (2, 6, 13, 14), generator=torch.Generator().manual_seed(0)).to(dtype)
    results = []
    for pool in (MaxPool(size, stride=2), nn.MaxPool2d(size, stride=2)):
        read = x.contiguous(memory_format=layout).requires_grad_()
        pooled = pool(read)
        pooled.backward(torch.arange(pooled.numel()).reshape(pooled.shape).to(dtype))
        assert read.grad is not None
        assert pooled.is_contiguous(memory_format=layout)
        assert read.grad.is_contiguous(memory_format=layout)
        results.append((pooled.detach(), read.grad))
    (ours, our_grad), (torchs, torchs_grad) = results
    assert torch.equal(ours, torchs)
    assert torch.equal(our_grad, torchs_grad)


def test_keeps_the_places_of_the_maxima_only() -> None:
    saved: list[torch.Tensor] = []
    with SAVED(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        pooled = MaxPool(3, stride=2)(torch.rand(2, 4, 27, 27, requires_grad=True))
    (places,) = saved
    assert places.shape == pooled.shape
    assert places.dtype == torch.int64
