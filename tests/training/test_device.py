"""How a network is computed is what ``performance`` says."""

import shutil
from collections.abc import Iterator
from typing import Literal

import pytest
import torch
from torch.nn.functional import cross_entropy

from alexnet_repro import AlexNet
from alexnet_repro.training.device import compile_network, set_fp32_precision
from alexnet_repro.training.sgd import paper_sgd


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("precision", "rounded"), [("ieee", False), ("tf32", True)])
def test_products_and_convolutions_are_rounded_or_not(
    precision: Literal["ieee", "tf32"], rounded: bool
) -> None:
    torch.backends.cudnn.allow_tf32 = not rounded
    set_fp32_precision(precision)
    assert torch.backends.cuda.matmul.allow_tf32 == rounded
    assert torch.backends.cudnn.allow_tf32 == rounded
    # Lightning asks for it, which fails where torch's two interfaces were mixed.
    assert torch.get_float32_matmul_precision() == ("high" if rounded else "highest")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("of", ["convolution", "product"])
def test_in_ieee_precision_a_gpu_computes_in_32_bit(of: str) -> None:
    torch.manual_seed(0)
    maps = torch.randn(8, 256, 13, 13, dtype=torch.float64, device="cuda")
    weights = torch.randn(384, 256, 3, 3, dtype=torch.float64, device="cuda")

    def computed(dtype: torch.dtype) -> torch.Tensor:
        a, b = maps.to(dtype), weights.to(dtype)
        return (
            torch.conv2d(a, b) if of == "convolution" else a.flatten(1) @ b.flatten()[:43264, None]
        )

    errors = {}
    for precision in ("ieee", "tf32"):
        set_fp32_precision(precision)  # type: ignore[arg-type]
        exact = computed(torch.float64)
        errors[precision] = float((computed(torch.float32) - exact).norm() / exact.norm())
    assert errors["ieee"] < 1e-6


@pytest.mark.long
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="needs a C++ compiler"
)
def test_a_compiled_network_trains_as_it_does_without() -> None:
    random = torch.Generator().manual_seed(0)
    images = 60 * torch.randn(4, 3, 224, 224, generator=random)
    images, label = images.contiguous(memory_format=torch.channels_last), torch.arange(4)
    std = dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"), 0.05)
    losses: dict[bool, list[float]] = {False: [], True: []}
    for compiled, of_steps in losses.items():
        torch.manual_seed(0)
        network = AlexNet(4, width=0.1, dropout=0.0, weight_std=std)
        network = network.to(memory_format=torch.channels_last)
        if compiled:
            compile_network(network, on_cpu=True)
        optimizer = paper_sgd(network, lr=1e-4)
        for _ in range(50):
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(images)
            loss = cross_entropy(logits.float(), label)
            of_steps.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert losses[False][-1] < 0.5 * losses[False][0]
    assert losses[True] == pytest.approx(losses[False], rel=0.1, abs=0.02)
