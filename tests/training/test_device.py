"""How exactly a GPU computes is what ``performance`` says."""

from collections.abc import Iterator
from typing import Literal

import pytest
import torch

from alexnet_repro.training.device import set_fp32_precision


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
