"""Layers of the paper: response normalization (§4.3), pooling (§4.4), dropout (§5.2), padding."""

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

from alexnet_repro.base.build import (
    ArgumentsOf,
    Count,
    NonNegative,
    Positive,
    checks_arguments,
)
from alexnet_repro.base.errors import first_line

log = logging.getLogger(__name__)


def by_torchs_operations(x: Tensor) -> bool:
    """Whether what is computed of x is more than an ordinary forward and backward.

    ``torch.compile``, ``torch.export`` and ``torch.jit.trace`` write the operations down,
    ``torch.func`` and forward-mode derivatives transform them, and on the meta device there are
    shapes only. None of them sees into a ``torch.autograd.Function``.
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


ONE_KERNEL = dict.fromkeys(
    ("realize_reads_threshold", "realize_opcount_threshold", "realize_acc_reads_threshold"), 10_000
)
"""Has the compiler compute anew what it would write to memory: on a GPU that is faster."""

WORTH_COMPILING = 500
"""Batches from which the time that a compiled norm saves is more than that of compiling it."""

LARGE = 2**22
"""Values from which that is so on a CPU; of a GPU every call takes the time of a kernel's start."""


def power_minus_beta(scale: Tensor, beta: float) -> Tensor:
    """``scale`` to the power of −β."""
    # s^-3/4 = s^1/4 / s: two square roots instead of a power, several times faster.
    return scale.sqrt().sqrt() / scale if beta == 0.75 else scale.pow(-beta)


def clamped_squares(a: Tensor, n: int, alpha: float) -> Tensor:
    """Squares of which the sum of n, and α times that, are finite: infinite scales make NaN."""
    largest: float = (torch.finfo(a.dtype).max / (2 * n * max(1, alpha))) ** 0.5
    return a.clamp(-largest, largest).square()


def squarable(a: Tensor) -> Tensor:
    """A in 32 bit where that is needed to square it."""
    return a.float() if a.dtype == torch.float16 else a


def windowed_sum(x: Tensor, below: int, above: int, columns: int) -> Tensor:
    """Sums of x over windows of maps, from ``below`` before a map to ``above`` after it.

    The sum of shifted maps, which the compiler makes part of one kernel; but in bfloat16 a CPU is
    faster at the product with a banded matrix, and for other programs that is less to read.
    """
    maps = x.shape[1] // columns
    on_cpu = x.device.type == "cpu" and x.dtype == torch.bfloat16
    if x.dim() == 4 and (on_cpu or torch.compiler.is_exporting()):
        band = x.new_ones(columns, maps, maps).triu(-below).tril(above)
        return functional.conv2d(x, band.flatten(0, 1)[:, :, None, None], groups=columns)
    last = torch.unflatten(x.movedim(1, -1), -1, (columns, maps))
    padded = functional.pad(last, (below, above))
    total = padded[..., :maps]
    for shift in range(1, below + above + 1):
        total = total + padded[..., shift : shift + maps]
    return total.flatten(-2).movedim(-1, 1)


def scale_of(a: Tensor, n: int, k: float, alpha: float, columns: int) -> Tensor:
    """The scale s = k + α · (windowed sum of a²)."""
    # For even n the window reaches n/2 below and n/2 − 1 above, as in torch.
    return k + alpha * windowed_sum(clamped_squares(a, n, alpha), n // 2, (n - 1) // 2, columns)


def normalize(a: Tensor, n: int, k: float, alpha: float, beta: float, columns: int) -> Tensor:
    """B = a · s^-β, with maps in dimension 1 of any number of them."""
    x = squarable(a)
    return (x * power_minus_beta(scale_of(x, n, k, alpha, columns), beta)).to(a.dtype)


def normalize_backward(
    grad: Tensor, a: Tensor, n: int, k: float, alpha: float, beta: float, columns: int
) -> Tensor:
    """The derivative g · s^-β − 2αβ · a · Wᵀ(g · a · s^(-β-1)), where W is the windowed sum."""
    x = squarable(a)
    scale = scale_of(x, n, k, alpha, columns)
    through_numerator = squarable(grad) * power_minus_beta(scale, beta)
    ratio = through_numerator * x / scale
    through_scale = windowed_sum(ratio, (n - 1) // 2, n // 2, columns)
    return (through_numerator - x * (2 * alpha * beta * through_scale)).to(a.dtype)


@functools.cache
def _compiled(
    function: Callable[..., Tensor], device: torch.device, *kind: object
) -> Callable[..., Tensor]:
    # Torch counts the kinds of input of one code, and from the ninth on it no longer compiles.
    own = FunctionType(function.__code__.replace(), function.__globals__)
    options: dict[str, Any] = ONE_KERNEL if device.type == "cuda" else {}
    return torch.compile(own, dynamic=False, options=options)


def compiled(function: Callable[..., Tensor], a: Tensor, constants: tuple[Any, ...]) -> Any:
    """``function`` as code for tensors such as ``a``, if that is worth it; else as it is."""
    worth = a.is_cuda or (a.device.type == "cpu" and a.numel() >= LARGE)
    if not (ResponseNorm.compiled and worth):
        return function
    code = _compiled(function, a.device, a.dtype, a.shape[1:], constants)

    def call(*arguments: Any) -> Tensor:
        # One code whether there is a way back or not, and for batches of all sizes.
        tensors = [tensor.data for tensor in arguments[: -len(constants)]]
        try:
            for tensor in tensors:
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
            return code(*tensors, *constants)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            ResponseNorm.compiled = False
            reason = first_line(error.inner_exception)
            log.warning("response normalization is not compiled (%s)", reason)
            return function(*arguments)

    return call


class Normalize(torch.autograd.Function):
    """The formula with a way back of its own, which keeps the input and nothing else."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, *constants: Any) -> Tensor:
        ctx.save_for_backward(a)
        ctx.constants = constants
        return compiled(normalize, a, constants)(a, *constants)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (a,), way = ctx.saved_tensors, normalize_backward
        # What is to be differentiated or transformed itself, torch has to see.
        if not torch.is_grad_enabled() and not by_torchs_operations(grad):
            way = compiled(way, a, ctx.constants)
        return way(grad, a, *ctx.constants), *[None] * len(ctx.constants)


@torch.fx.wrap  # one node of a graph: how it is computed depends on the input
def response_norm(
    a: Tensor,
    n: int,
    k: float,
    alpha: float,
    beta: float,
    columns: int = 1,
    dim: int = 1,
) -> Tensor:
    """What :class:`ResponseNorm` computes."""
    kind, dim = a.device.type, dim % a.dim()
    # Moved, other dimensions take the place of the batch: every position is normalized alone.
    a = a if dim == 1 else a.movedim(dim, 1)
    if kind != "meta" and torch.is_autocast_enabled(kind):
        a = a.to(torch.get_autocast_dtype(kind))
    if by_torchs_operations(a):
        b = normalize(a, n, k, alpha, beta, columns)
    elif a.shape[1] % columns:
        raise ValueError(f"{a.shape[1]} maps cannot be split into {columns} equal columns")
    else:
        b = Normalize.apply(a, n, k, alpha, beta, columns)
    return b if dim == 1 else b.movedim(1, dim)


class ResponseNorm(nn.Module):
    """Local response normalization over adjacent kernel maps (§4.3).

    bⁱ = aⁱ / (k + α Σ_{j=max(0, i−n/2)}^{min(N−1, i+n/2)} (aʲ)²)^β

    N is the number of maps of one *column*: the sum never crosses from one column to the other,
    since a GPU of the paper only held its own maps.

    It keeps its input for the way back and nothing else. ``ResponseNorm.compiled = True`` has the
    norms of GPUs and of large tensors on CPUs compiled, as training and evaluation do if they take
    long; within ``torch.compile`` a norm is compiled with what is around it.

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

    In half precision all is computed in 32 bit. There and in bfloat16, squares too large to be
    summed (of inputs from 5e18 on, for n = 5) count as the largest that can be: b is finite, though
    it is not the formula's. No network that still trains has maps of such values.

    Raises:
        ValueError: if ``maps`` is not a multiple of ``columns``.
    """

    compiled: ClassVar[bool] = False

    @checks_arguments
    def __init__(
        self,
        maps: Count | None = None,
        n: Annotated[int, Field(ge=1, le=4096)] = 5,
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
        return response_norm(a, self.n, self.k, self.alpha, self.beta, self.columns, self.dim)

    def extra_repr(self) -> str:
        return (
            f"{self.maps}, n={self.n}, k={self.k}, alpha={self.alpha}, beta={self.beta}, "
            f"columns={self.columns}"
        )


def compile_norms(batches: float) -> None:
    """Have norms compiled from now on if they are to see so many batches that it pays.

    Compiling takes seconds the first time on a machine, which then keeps what was compiled.
    """
    ResponseNorm.compiled = batches >= WORTH_COMPILING


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
    x = a.to(torch.promote_types(a.dtype, torch.float32))
    summed = clamped_squares(x, size * size, scale)
    mean = functional.avg_pool2d(summed, size, stride=1, padding=size // 2)
    return (x * power_minus_beta(1 + scale * mean, beta)).to(a.dtype)


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
