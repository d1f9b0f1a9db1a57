"""Response normalization (§4.3), and the 2012 program's within-map variant."""

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from alexnet_repro.base.build import ArgumentsOf, Count, NonNegative, Positive

CACHED = 2**23
"""Bytes of one tensor that stay in a CPU's cache from one pass over them to the next."""


WORTH_COMPILING = 500
"""Batches from which the time that a compiled norm saves is more than that of compiling it."""


def power_minus_beta(scale: Tensor, beta: float) -> Tensor:
    """``scale`` to the power of −β."""
    if beta == 0.75:
        # s^-3/4 = s^1/4 / s: two square roots instead of a power, several times faster.
        if scale.requires_grad:
            return scale.sqrt().sqrt() / scale
        return scale.sqrt().sqrt_().div_(scale)
    return scale.pow(-beta)


def scale_of(a: Tensor, window: Tensor, k: float, columns: int) -> Tensor:
    """The scale s = k + α · (windowed sum of a²), by a banded matrix that holds α."""
    bias = window.new_full((len(window),), k)
    return functional.conv2d(a.square(), window, bias, groups=columns)


class NormalizeInCache(torch.autograd.Function):
    """b = a · s^-β with s = k + α · (windowed sum of a²), a few images at a time.

    The derivative is db/da · g = g · s^-β − 2αβ · a · Wᵀ(g · a · s^(-β-1)), where W is the
    windowed sum. Only a and s are saved for it; in 32 bit only a, and s is computed anew: that
    costs 3 % of a step's time and spares a tenth of its memory.

    The passes over a few images find them in a CPU's cache and not in memory. The windowed sum is a
    1×1 convolution with a banded matrix, which holds α.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, window: Tensor, k: float, beta: float, columns: int) -> Tensor:
        b = torch.empty_like(a)
        images = max(1, CACHED // max(1, a[:1].numel() * a.element_size()))
        scales = []
        for a_, b_ in zip(torch.split(a, images), torch.split(b, images), strict=True):
            scale = scale_of(a_, window, k, columns)
            torch.mul(power_minus_beta(scale, beta), a_, out=b_)
            if a.element_size() < 4:
                scales.append(scale)
        ctx.save_for_backward(a, window, *scales)
        ctx.constants = images, k, beta, columns
        return b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, window, *scales = ctx.saved_tensors
        images, k, beta, columns = ctx.constants
        grad_a = torch.empty_like(a)
        parts = zip(
            torch.split(a, images),
            torch.split(grad, images),
            torch.split(grad_a, images),
            strict=True,
        )
        for i, (a_, grad_, grad_a_) in enumerate(parts):
            scale = scales[i] if scales else scale_of(a_, window, k, columns)
            # First the part through the numerator; that through the scale is added to it.
            ratio = torch.mul(power_minus_beta(scale, beta), grad_, out=grad_a_) * a_
            # Transposing the window per column turns "which squares enter scale i" into "which
            # scales does square i enter".
            through_scale = functional.conv_transpose2d(ratio.div_(scale), window, groups=columns)
            grad_a_.addcmul_(through_scale, a_, value=-2 * beta)
        return grad_a, None, None, None, None


def windowed_sum(x: Tensor, below: int, above: int, columns: int) -> Tensor:
    """Sums of x over windows of maps, from ``below`` before a map to ``above`` after it."""
    by_column = torch.unflatten(x, 1, (columns, -1))
    maps = by_column.shape[2]
    padded = functional.pad(by_column, (0, 0, 0, 0, below, above))
    total = padded[:, :, :maps]
    for shift in range(1, below + above + 1):
        total = total + padded[:, :, shift : shift + maps]
    return total.flatten(1, 2)


def normalize(
    a: Tensor, n: int, k: float, alpha: float, beta: float, columns: int
) -> tuple[Tensor, Tensor]:
    """B = a · s^-β, and s, in the type of a; computed in 32 bit or more. For one fused kernel."""
    wide = a.to(torch.promote_types(a.dtype, torch.float32))
    scale = k + alpha * windowed_sum(wide * wide, n // 2, (n - 1) // 2, columns)
    return (wide * power_minus_beta(scale, beta)).to(a.dtype), scale.to(a.dtype)


def normalize_backward(
    grad: Tensor, a: Tensor, scale: Tensor, n: int, alpha: float, beta: float, columns: int
) -> Tensor:
    """The derivative of :func:`normalize`, in the type of a. For one fused kernel."""
    wide = torch.promote_types(a.dtype, torch.float32)
    grad, wide_a, scale = grad.to(wide), a.to(wide), scale.to(wide)
    through_numerator = grad * power_minus_beta(scale, beta)
    ratio = through_numerator * wide_a / scale
    through_scale = windowed_sum(ratio, (n - 1) // 2, n // 2, columns)
    return (through_numerator - 2 * alpha * beta * wide_a * through_scale).to(a.dtype)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # Not before it is called: the compiler takes seconds to import.
    return torch.compile(function)


class NormalizeFused(torch.autograd.Function):
    """The same in one compiled kernel for each way: what a GPU, limited by its memory, needs.

    Not ``compiled``, it is the same arithmetic in torch's own kernels.
    """

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        n: int,
        k: float,
        alpha: float,
        beta: float,
        columns: int,
        compiled: bool,
    ) -> Tensor:
        function = _compiled(normalize) if compiled else normalize
        b, scale = function(a, n, k, alpha, beta, columns)
        ctx.save_for_backward(a, scale)
        ctx.constants = n, alpha, beta, columns
        ctx.compiled = compiled
        return b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        function = _compiled(normalize_backward) if ctx.compiled else normalize_backward
        grad_a = function(grad, *ctx.saved_tensors, *ctx.constants)
        return grad_a, None, None, None, None, None, None


class ResponseNorm(nn.Module):
    """Local response normalization over adjacent kernel maps (§4.3).

    bⁱ = aⁱ / (k + α Σ_{j=max(0, i−n/2)}^{min(N−1, i+n/2)} (aʲ)²)^β

    N is the number of maps of one *column*: the sum never crosses from one column to the other,
    since a GPU of the paper only held its own maps.

    On a CPU the windowed sum is a matrix product over the squares, on a GPU all of it is one
    compiled kernel (unless :func:`compile_norms` says that it does not pay);
    ``torch.nn.LocalResponseNorm`` pools over a fifth dimension instead.

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
    compiled = True

    def __init__(
        self,
        maps: int,
        n: Count = 5,
        k: Positive = 2.0,
        alpha: NonNegative = 1e-4,
        beta: NonNegative = 0.75,
        columns: Count = 1,
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
        if torch.compiler.is_exporting():
            # A graph for other programs: no loop over parts of a batch of unknown size.
            scale = scale_of(a, self.window, self.k, self.columns)
            return a * power_minus_beta(scale, self.beta)
        if torch.is_autocast_enabled(a.device.type):
            a = a.to(torch.get_autocast_dtype(a.device.type))
        if a.device.type == "cuda":
            return NormalizeFused.apply(  # type: ignore[no-any-return]
                a, self.n, self.k, self.alpha, self.beta, self.columns, self.compiled
            )
        window = self.window.to(a.dtype)
        return NormalizeInCache.apply(a, window, self.k, self.beta, self.columns)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return (
            f"{self.maps}, n={self.n}, k={self.k}, alpha={self.alpha}, beta={self.beta}, "
            f"columns={self.columns}"
        )


def compile_norms(network: nn.Module, batches: float) -> None:
    """Have the norms of a network compiled for a GPU if it is to see so many batches that it pays.

    Compiling takes seconds the first time on a machine, which then keeps what was compiled.
    """
    for module in network.modules():
        if isinstance(module, ResponseNorm):
            module.compiled = batches >= WORTH_COMPILING


PAPER_NORM = MappingProxyType(
    {
        name: parameter.default
        for name, parameter in inspect.signature(ResponseNorm).parameters.items()
        if name not in ("maps", "columns")
    }
)
"""The constants of §4.3."""
NormArguments = Annotated[Mapping[str, Any], ArgumentsOf(ResponseNorm, ("maps",))]


class WithinMapNorm(nn.Module):
    """The 2012 program's second normalization of layer 2: over a square of the same map.

    b = a / (1 + (scale / size²) · Σ_{size × size neighbourhood} a²)^β; not in the paper.
    The constants are those of the program: a 5×5 neighbourhood, scale 0.001, β 0.75.

    Shape: (batch, maps, height, width) in and out.
    """

    def __init__(
        self, size: Count = 5, scale: NonNegative = 0.001, beta: NonNegative = 0.75
    ) -> None:
        super().__init__()
        self.size, self.scale, self.beta = size, scale, beta

    def forward(self, a: Tensor) -> Tensor:
        # The neighbourhood's sum as a convolution of every map with one constant kernel.
        maps = a.shape[1]
        kernel = a.new_full((maps, 1, self.size, self.size), self.scale / self.size**2)
        scale = functional.conv2d(
            a.square(), kernel, a.new_ones(maps), padding=self.size // 2, groups=maps
        )
        return a * power_minus_beta(scale, self.beta)

    def extra_repr(self) -> str:
        return f"size={self.size}, scale={self.scale}, beta={self.beta}"
