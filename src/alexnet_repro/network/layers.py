"""Layers of the paper: response normalization (§4.3), pooling (§4.4), dropout (§5.2), padding."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

from alexnet_repro.base.build import ArgumentsOf, Count, NonNegative, Positive


def by_torchs_operations(x: Tensor) -> bool:
    """Whether what is computed of x is more than an ordinary forward and backward.

    ``torch.compile``, ``torch.export`` and ``torch.jit.trace`` write the operations down,
    ``torch.func`` and forward-mode derivatives transform them, and on the meta device there are
    shapes only. None of them sees into a ``torch.autograd.Function`` that works in place.
    """
    return (
        torch.compiler.is_compiling()
        or traced()
        # What Function.apply itself asks before it refuses; there is no public way.
        or torch._C._are_functorch_transforms_active()
        or forward_ad.unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]
        or x.device.type == "meta"
    )


def traced() -> bool:
    """Whether ``torch.jit.trace`` is at work, which takes sizes for unknown."""
    return torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined, no-any-return]


CACHED = 2**22
"""Bytes of one tensor that stay in a CPU's cache from one pass over them to the next."""

WORTH_COMPILING = 500
"""Batches from which the time that a compiled norm saves is more than that of compiling it."""


def power_minus_beta(scale: Tensor, beta: float, in_place: bool = False) -> Tensor:
    """``scale`` to the power of −β; with less memory ``in_place``, which has no derivative."""
    if beta != 0.75:
        return scale.pow(-beta)
    # s^-3/4 = s^1/4 / s: two square roots instead of a power, several times faster.
    root = scale.sqrt()
    return root.sqrt_().div_(scale) if in_place else root.sqrt() / scale


def largest_square(a: Tensor, n: int, alpha: float) -> float:
    """What α · (the sum of n of them) is still finite of: infinite scales make NaN."""
    return torch.finfo(a.dtype).max / (1 + n * alpha)


def in_wide(a: Tensor) -> Tensor:
    """A in 32 bit or more, where it can be squared."""
    return a.to(torch.promote_types(a.dtype, torch.float32))


# The formula and its derivative, in torch's operations: maps in dimension 1 of any number of them


def windowed_sum(x: Tensor, below: int, above: int, columns: int) -> Tensor:
    """Sums of x over windows of maps, from ``below`` before a map to ``above`` after it."""
    by_column = torch.unflatten(x, 1, (columns, -1))
    maps = by_column.shape[2]
    padded = functional.pad(by_column, (0, 0) * (x.dim() - 2) + (below, above))
    total = padded[:, :, :maps]
    for shift in range(1, below + above + 1):
        total = total + padded[:, :, shift : shift + maps]
    return total.flatten(1, 2)


def scale_of(a: Tensor, n: int, k: float, alpha: float, columns: int) -> Tensor:
    """The scale s = k + α · (windowed sum of a²), in 32 bit or more."""
    squares = in_wide(a).square()
    squares = squares.clamp(max=largest_square(squares, n, alpha))
    # For even n the window reaches n/2 below and n/2 − 1 above, as in torch.
    return k + alpha * windowed_sum(squares, n // 2, (n - 1) // 2, columns)


def normalize(
    a: Tensor, n: int, k: float, alpha: float, beta: float, columns: int
) -> tuple[Tensor, Tensor]:
    """B = a · s^-β in the type of a, and s for the way back. On a GPU for one fused kernel."""
    scale = scale_of(a, n, k, alpha, columns)
    b = (in_wide(a) * power_minus_beta(scale, beta)).to(a.dtype)
    # In 16 bit where that has the range of 32.
    return b, scale if a.dtype == torch.float16 else scale.to(a.dtype)


def normalize_backward(
    grad: Tensor,
    a: Tensor,
    saved: Sequence[Tensor],
    n: int,
    k: float,
    alpha: float,
    beta: float,
    columns: int,
) -> Tensor:
    """The derivative g · s^-β − 2αβ · a · Wᵀ(g · a · s^(-β-1)), where W is the windowed sum.

    Args:
        saved: s, or nothing.
    """
    (scale,) = map(in_wide, saved) if saved else [scale_of(a, n, k, alpha, columns)]
    through_numerator = in_wide(grad) * power_minus_beta(scale, beta)
    ratio = through_numerator * in_wide(a) / scale
    through_scale = windowed_sum(ratio, (n - 1) // 2, n // 2, columns)
    return (through_numerator - in_wide(a) * (2 * alpha * beta * through_scale)).to(a.dtype)


# The same on a CPU, a few images at a time: every pass over them but the first finds them in its
# cache and not in memory. The windowed sum is a 1×1 convolution with a banded matrix, which holds α


def banded(a: Tensor, n: int, k: float, alpha: float, columns: int) -> tuple[Tensor, Tensor]:
    """The matrix whose product with squares is α · (their windowed sum), and k for every map."""
    maps = a.shape[1] // columns
    band = a.new_full((columns, maps, maps), alpha).triu_(-(n // 2)).tril_((n - 1) // 2)
    return band.flatten(0, 1)[:, :, None, None], a.new_full(a.shape[1:2], k)


def scale_in_cache(a: Tensor, band: Tensor, bias: Tensor, columns: int, largest: float) -> Tensor:
    """The scale s of a few images, in their type."""
    return functional.conv2d(a.square().clamp_(max=largest), band, bias, groups=columns)


def few_images(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few images of each of ``tensors``, as many as the cache holds."""
    images = max(1, CACHED // max(1, tensors[0][:1].nbytes))
    return zip(*(torch.split(tensor, images) for tensor in tensors), strict=True)


def normalize_in_cache(
    a: Tensor, n: int, k: float, alpha: float, beta: float, columns: int
) -> list[Tensor]:
    """What :func:`normalize` computes → b, the banded matrix, k for every map, 16-bit scales.

    In 32 bit the scales are summed anew: that costs 3 % of a step's time and spares a tenth of its
    memory.
    """
    (band, bias), b = banded(a, n, k, alpha, columns), torch.empty_like(a)
    largest, saved = largest_square(a, n, alpha), [band, bias]
    for a_, b_ in few_images(a, b):
        scale = scale_in_cache(a_, band, bias, columns, largest)
        torch.mul(power_minus_beta(scale, beta, in_place=True), a_, out=b_)
        if a.element_size() < 4:
            saved.append(scale)
    return [b, *saved]


def normalize_backward_in_cache(
    grad: Tensor,
    a: Tensor,
    saved: Sequence[Tensor],
    n: int,
    k: float,
    alpha: float,
    beta: float,
    columns: int,
) -> Tensor:
    """What :func:`normalize_backward` computes."""
    band, bias, *scales = saved
    largest, grad_a = largest_square(a, n, alpha), torch.empty_like(a)
    for i, (a_, grad_, grad_a_) in enumerate(few_images(a, grad, grad_a)):
        scale = scales[i] if scales else scale_in_cache(a_, band, bias, columns, largest)
        # First the part through the numerator; that through the scale is added to it.
        power = power_minus_beta(scale, beta, in_place=True)
        ratio = torch.mul(power, grad_, out=grad_a_) * a_
        # Transposing the matrix per column turns "which squares enter scale i" into "which scales
        # does square i enter".
        through_scale = functional.conv_transpose2d(ratio.div_(scale), band, groups=columns)
        grad_a_.addcmul_(through_scale, a_, value=-2 * beta)
    return grad_a


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    # Not before it is called: the compiler takes seconds to import.
    return torch.compile(function)


class Normalize(torch.autograd.Function):
    """The formula with a way back of its own, which keeps the input and little else."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, compiled: bool, *constants: Any) -> Tensor:
        there: Callable[..., Sequence[Tensor]]
        # In half precision the squares overflow: that is computed in 32 bit.
        if a.device.type == "cpu" and a.dim() == 4 and a.dtype != torch.float16:
            there, ctx.back = normalize_in_cache, normalize_backward_in_cache
        elif compiled and a.is_cuda:
            there, ctx.back = _compiled(normalize), _compiled(normalize_backward)
        else:
            there, ctx.back = normalize, normalize_backward
        b, *saved = there(a, *constants)
        ctx.save_for_backward(a, *saved)
        ctx.constants = constants
        return b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, *saved = ctx.saved_tensors
        if torch.is_grad_enabled() or by_torchs_operations(grad):
            # This is to be differentiated itself, so the scale has to be made of a.
            grad_a = normalize_backward(grad, a, [], *ctx.constants)
        else:
            grad_a = ctx.back(grad, a, saved, *ctx.constants)
        return grad_a, *[None] * (1 + len(ctx.constants))


@torch.fx.wrap  # one node of a graph: how it is computed depends on the input
def response_norm(
    a: Tensor,
    n: int,
    k: float,
    alpha: float,
    beta: float,
    columns: int = 1,
    dim: int = 1,
    compiled: bool = False,
) -> Tensor:
    """What :class:`ResponseNorm` computes."""
    kind, dim = a.device.type, dim % a.dim()
    # Moved, other dimensions take the place of the batch: every position is normalized alone.
    a = a if dim == 1 else a.movedim(dim, 1)
    if kind != "meta" and torch.is_autocast_enabled(kind):
        a = a.to(torch.get_autocast_dtype(kind))
    if torch.compiler.is_exporting() and a.dim() == 4 and a.dtype != torch.float16:
        # For other programs: one convolution is less to read than the windows' slices.
        band_and_k, largest = banded(a, n, k, alpha, columns), largest_square(a, n, alpha)
        b = a * power_minus_beta(scale_in_cache(a, *band_and_k, columns, largest), beta)
    elif by_torchs_operations(a):
        b, _ = normalize(a, n, k, alpha, beta, columns)
    elif a.shape[1] % columns:
        raise ValueError(f"{a.shape[1]} maps cannot be split into {columns} equal columns")
    else:
        b = Normalize.apply(a, compiled, n, k, alpha, beta, columns)
    return b if dim == 1 else b.movedim(1, dim)


class ResponseNorm(nn.Module):
    """Local response normalization over adjacent kernel maps (§4.3).

    bⁱ = aⁱ / (k + α Σ_{j=max(0, i−n/2)}^{min(N−1, i+n/2)} (aʲ)²)^β

    N is the number of maps of one *column*: the sum never crosses from one column to the other,
    since a GPU of the paper only held its own maps.

    On a CPU the windowed sum is a matrix product over the squares, on a GPU all of it is one
    compiled kernel (unless :func:`compile_norms` says that it does not pay);
    ``torch.nn.LocalResponseNorm`` pools over a fifth dimension instead. Under ``torch.func``,
    ``torch.compile``, ``torch.export`` and ``torch.jit.trace`` it is the formula in torch's
    operations.

    Args:
        maps: number of kernel maps of the input, all columns together, where it is known before.
        n: number of adjacent maps in the window.
        k, alpha, beta: the constants of the formula.
        columns: number of equal groups of maps that are normalized separately.
        divide_alpha_by_n: divide α by n as the 2012 program, Caffe and
            ``torch.nn.LocalResponseNorm`` do. The paper's formula does not.
        dim: dimension of the maps. In position 1 they follow the batch as in
            ``torch.nn.LocalResponseNorm``; −3 is for images with a batch or without.

    Shape: (batch, maps, …) in and out, with any number of further dimensions or none.

    In half precision all is computed in 32 bit. There and in bfloat16, squares beyond the largest
    number (inputs from 1.8e19 on) count as about the largest: b is finite, though it is not the
    formula's. No network that still trains has maps of such values.

    Raises:
        ValueError: if ``maps`` is not a multiple of ``columns``.
    """

    compiled = True

    def __init__(
        self,
        maps: Count | None = None,
        n: Count = 5,
        k: Positive = 2.0,
        alpha: NonNegative = 1e-4,
        beta: NonNegative = 0.75,
        columns: Count = 1,
        divide_alpha_by_n: bool = False,
        dim: int = 1,
    ) -> None:
        super().__init__()
        if maps is not None and maps % columns:
            raise ValueError(f"{maps} maps cannot be split into {columns} equal columns")
        self.maps, self.n, self.k, self.beta, self.columns = maps, n, k, beta, columns
        self.alpha = alpha / n if divide_alpha_by_n else alpha
        self.dim = dim

    def forward(self, a: Tensor) -> Tensor:
        return response_norm(
            a, self.n, self.k, self.alpha, self.beta, self.columns, self.dim, self.compiled
        )

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
        if name not in ("maps", "columns", "dim")
    }
)
"""The constants of §4.3."""
NormArguments = Annotated[Mapping[str, Any], ArgumentsOf(ResponseNorm, ("maps", "dim"))]


class WithinMapNorm(nn.Module):
    """The 2012 program's second normalization of layer 2: over a square of the same map.

    b = a / (1 + (scale / size²) · Σ_{size × size neighbourhood} a²)^β; not in the paper.
    The constants are those of the program: a 5×5 neighbourhood, scale 0.001, β 0.75.

    Shape: (batch, maps, height, width) or (maps, height, width) in and out.
    """

    def __init__(
        self, size: Count = 5, scale: NonNegative = 0.001, beta: NonNegative = 0.75
    ) -> None:
        super().__init__()
        self.size, self.scale, self.beta = size, scale, beta

    def forward(self, a: Tensor) -> Tensor:
        return within_map_norm(a, self.size, self.scale, self.beta)

    def extra_repr(self) -> str:
        return f"size={self.size}, scale={self.scale}, beta={self.beta}"


@torch.fx.wrap
def within_map_norm(a: Tensor, size: int, scale: float, beta: float) -> Tensor:
    """What :class:`WithinMapNorm` computes; in 32 bit or more."""
    squares = in_wide(a).square()
    squares = squares.clamp(max=largest_square(squares, 1, scale))
    mean = functional.avg_pool2d(squares, size, stride=1, padding=size // 2)
    return (in_wide(a) * power_minus_beta(1 + scale * mean, beta)).to(a.dtype)


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
