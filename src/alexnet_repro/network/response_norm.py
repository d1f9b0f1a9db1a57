"""Response normalization (§4.3), and the 2012 program's within-map variant."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

CACHED = 2**19
"""Values of one tensor that stay in a CPU core's cache from one pass over them to the next."""


def _cached(*maps: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """The same few images of all of ``maps``, (batch, maps, height, width) each, then the next.

    On a CPU the passes over a few images find them in its cache and not in memory, which makes them
    up to three times faster. A GPU, where compilation makes one pass of all, gets the whole batch.
    """
    if maps[0].device.type != "cpu" or torch.compiler.is_compiling():
        return (maps,)
    images = max(1, CACHED // max(1, maps[0][:1].numel()))
    return zip(*(torch.split(whole, images) for whole in maps), strict=True)


def _power_minus_beta(scale: Tensor, beta: float, spare: Tensor, out: Tensor) -> Tensor:
    """``scale`` to the power of −β, written to ``out``; ``spare`` is overwritten."""
    if beta == 0.75:
        # s^-3/4 = s^-1/2 · (s^-1/2)^1/2: two square roots instead of a power, several times faster.
        torch.rsqrt(scale, out=spare)
        return torch.sqrt(spare, out=out).mul_(spare)
    return torch.pow(scale, -beta, out=out)


class _Normalize(torch.autograd.Function):
    """b = a · s^-β with s = k + α · (windowed sum of a²), saving only a and s for the way back.

    The derivative is db/da · g = g · s^-β − 2αβ · a · Wᵀ(g · a · s^(-β-1)), where W is the
    windowed sum; W is symmetric for odd n.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, window: Tensor, k: float, beta: float, columns: int) -> Tensor:
        b, scale = torch.empty_like(a), torch.empty_like(a)
        for a_, b_, scale_ in _cached(a, b, scale):
            squares = functional.conv2d(a_.square(), window, groups=columns)
            torch.add(squares, k, out=scale_)
            _power_minus_beta(scale_, beta, spare=squares, out=b_).mul_(a_)
        ctx.save_for_backward(a, scale, window)
        ctx.beta, ctx.columns = beta, columns
        return b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, scale, window = ctx.saved_tensors
        grad_a = torch.empty_like(a)
        for a_, scale_, grad_, grad_a_ in _cached(a, scale, grad, grad_a):
            ratio = torch.empty_like(a_)
            # First the part through the numerator; that through the scale is added to it.
            _power_minus_beta(scale_, ctx.beta, spare=ratio, out=grad_a_).mul_(grad_)
            torch.mul(grad_a_, a_, out=ratio).div_(scale_)
            # The window holds α already. Transposing it per column turns "which squares enter
            # scale i" into "which scales does square i enter".
            through_scale = functional.conv_transpose2d(ratio, window, groups=ctx.columns)
            grad_a_.addcmul_(through_scale, a_, value=-2 * ctx.beta)
        return grad_a, None, None, None, None


class ResponseNorm(nn.Module):
    """Local response normalization over adjacent kernel maps (§4.3).

    bⁱ = aⁱ / (k + α Σ_{j=max(0, i−n/2)}^{min(N−1, i+n/2)} (aʲ)²)^β

    N is the number of maps of one *column*: the sum never crosses from one column to the other,
    since a GPU of the paper only held its own maps.

    The windowed sum is a 1×1 convolution with a banded matrix: one matrix product over the
    squares, which is fast in every layout and precision, where ``torch.nn.LocalResponseNorm``
    pools over a fifth dimension.

    Args:
        maps: number of kernel maps of the input, all columns together.
        n: number of adjacent maps in the window.
        k, alpha, beta: the constants of the formula.
        columns: number of equal groups of maps that are normalized separately.
        divide_alpha_by_n: divide α by n as the 2012 program, Caffe and
            ``torch.nn.LocalResponseNorm`` do. The paper's formula does not.

    Shape: (batch, maps, height, width) in and out.

    Raises:
        ValueError: if ``maps`` is not a multiple of ``columns``.
    """

    window: Tensor

    def __init__(
        self,
        maps: int,
        n: int = 5,
        k: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        columns: int = 1,
        divide_alpha_by_n: bool = False,
    ) -> None:
        super().__init__()
        if maps % columns:
            raise ValueError(f"{maps} maps cannot be split into {columns} equal columns")
        self.maps, self.n, self.k, self.beta, self.columns = maps, n, k, beta, columns
        self.alpha = alpha / n if divide_alpha_by_n else alpha
        of_column = maps // columns
        distance = torch.arange(of_column)[None, :] - torch.arange(of_column)[:, None]
        # For even n the window reaches n/2 below and n/2 − 1 above, as in torch.
        inside = (distance >= -(n // 2)) & (distance <= (n - 1) // 2)
        band = (self.alpha * inside).repeat(columns, 1)[:, :, None, None]
        self.register_buffer("window", band, persistent=False)

    def forward(self, a: Tensor) -> Tensor:
        if torch.is_autocast_enabled(a.device.type):
            a = a.to(torch.get_autocast_dtype(a.device.type))
        window = self.window.to(a.dtype)
        return _Normalize.apply(a, window, self.k, self.beta, self.columns)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return (
            f"{self.maps}, n={self.n}, k={self.k}, alpha={self.alpha}, beta={self.beta}, "
            f"columns={self.columns}"
        )


class WithinMapNorm(nn.Module):
    """The 2012 program's second normalization of layer 2: over a square of the same map.

    b = a / (1 + (scale / size²) · Σ_{size × size neighbourhood} a²)^β; not in the paper.
    The constants are those of the program: a 5×5 neighbourhood, scale 0.001, β 0.75.

    Shape: (batch, maps, height, width) in and out.
    """

    def __init__(self, size: int = 5, scale: float = 0.001, beta: float = 0.75) -> None:
        super().__init__()
        self.size, self.scale, self.beta = size, scale, beta

    def forward(self, a: Tensor) -> Tensor:
        # With padding counted in, the average pool is the neighbourhood's sum over size².
        mean_square = functional.avg_pool2d(
            a.square(), self.size, stride=1, padding=self.size // 2, count_include_pad=True
        )
        return a * (1 + self.scale * mean_square) ** -self.beta

    def extra_repr(self) -> str:
        return f"size={self.size}, scale={self.scale}, beta={self.beta}"
