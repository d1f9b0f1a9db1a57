"""Response normalization is the formula of §4.3, forward and backward, in every layout and type."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from alexnet_repro.network import layers
from alexnet_repro.network.layers import ResponseNorm, WithinMapNorm, compile_norms

Floats = npt.NDArray[np.float64]

CONSTANTS = pytest.mark.parametrize(
    ("maps", "n", "k", "alpha", "beta"),
    [
        (8, 5, 2.0, 1e-4, 0.75),
        (12, 5, 2.0, 0.3, 0.75),
        (12, 4, 1.0, 0.3, 0.75),
        (10, 3, 0.5, 0.1, 0.5),
        (6, 2, 2.0, 0.2, 1.0),
        (6, 1, 1.0, 0.5, 0.6),
        (4, 9, 2.0, 0.3, 0.75),  # a window wider than a column
    ],
)
COLUMNS = pytest.mark.parametrize("columns", [1, 2])
SUMS = pytest.mark.parametrize("dimensions", [4, 3], ids=["banded matrix", "shifted maps"])
"""How a CPU sums windows of images, and everything else of other tensors."""


def formula(a: Floats, n: int, k: float, alpha: float, beta: float, columns: int) -> Floats:
    """§4.3 by loops; N is the number of maps of one column. For even n as torch: n maps."""
    b = np.empty_like(a)
    size = a.shape[1] // columns
    for image, y, x in np.ndindex(a.shape[0], *a.shape[2:]):
        for column in range(columns):
            values = a[image, column * size : (column + 1) * size, y, x]
            for i in range(size):
                first, last = max(0, i - n // 2), min(size - 1, i + (n - 1) // 2)
                total = sum(values[j] ** 2 for j in range(first, last + 1))
                b[image, column * size + i, y, x] = values[i] / (k + alpha * total) ** beta
    return b


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@CONSTANTS
@COLUMNS
@SUMS
def test_is_the_formula(
    random: torch.Generator,
    dimensions: int,
    maps: int,
    n: int,
    k: float,
    alpha: float,
    beta: float,
    columns: int,
) -> None:
    a = 5 * torch.randn(2, maps, 3, 2, dtype=torch.float64, generator=random)
    norm = ResponseNorm(maps, n, k, alpha, beta, columns).double()
    expected = formula(a.numpy(), n, k, alpha, beta, columns)
    found = norm(a.reshape(*a.shape[: dimensions - 1], -1)).reshape(a.shape)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_defaults_are_the_constants_of_the_paper(random: torch.Generator) -> None:
    a = 50 * torch.randn(1, 20, 2, 2, dtype=torch.float64, generator=random)
    expected = formula(a.numpy(), n=5, k=2, alpha=1e-4, beta=0.75, columns=1)
    np.testing.assert_allclose(ResponseNorm(20)(a).numpy(), expected, rtol=1e-7)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_with_alpha_divided_by_n_equals_torch(random: torch.Generator, n: int, beta: float) -> None:
    a = 5 * torch.randn(2, 16, 4, 4, dtype=torch.float64, generator=random)
    ours = ResponseNorm(16, n, k=1.5, alpha=0.3, beta=beta, divide_alpha_by_n=True)
    theirs = nn.LocalResponseNorm(n, alpha=0.3, beta=beta, k=1.5)
    torch.testing.assert_close(ours(a), theirs(a), rtol=1e-7, atol=1e-12)


def test_constants_that_make_no_sum_are_refused() -> None:
    with pytest.raises(ValueError, match="n=-1: input should be greater than or equal to 1"):
        ResponseNorm(16, n=-1)


def test_without_the_division_it_does_not_equal_torch(random: torch.Generator) -> None:
    a = 5 * torch.randn(2, 16, 4, 4, generator=random)
    ours, theirs = ResponseNorm(16, alpha=0.3), nn.LocalResponseNorm(5, alpha=0.3, k=2.0)
    assert (ours(a) - theirs(a)).abs().max() > 0.1


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
@COLUMNS
@pytest.mark.parametrize("beta", [0.75, 0.6])
@SUMS
def test_backward_is_the_derivative(
    random: torch.Generator, dimensions: int, n: int, columns: int, beta: float
) -> None:
    # For even n the window is not symmetric and the way back needs its transpose.
    norm = ResponseNorm(8, n, k=1.0, alpha=0.3, beta=beta, columns=columns).double()
    shape = (2, 8, 2, 3)[:dimensions]
    a = torch.randn(shape, dtype=torch.float64, generator=random).requires_grad_()
    assert torch.autograd.gradcheck(norm, (a,))


@pytest.mark.parametrize("n", [4, 5])
def test_windows_never_cross_columns(random: torch.Generator, n: int) -> None:
    norm = ResponseNorm(12, n, alpha=0.3, columns=2)
    a = torch.randn(1, 12, 3, 3, generator=random)
    changed = a.clone()
    changed[:, 6:] += 1
    assert torch.equal(norm(a)[:, :6], norm(changed)[:, :6])
    # The same maps in one column do reach across.
    joined = ResponseNorm(12, n, alpha=0.3)
    assert not torch.equal(joined(a)[:, :6], joined(changed)[:, :6])


@pytest.mark.parametrize("n", [4, 5])
def test_gradients_never_cross_columns(random: torch.Generator, n: int) -> None:
    a = torch.randn(1, 12, 3, 3, generator=random).requires_grad_()
    ResponseNorm(12, n, alpha=0.3, columns=2)(a)[:, 6:].square().sum().backward()
    assert a.grad is not None
    assert not a.grad[:, :6].any()
    assert a.grad[:, 6:].all()


def test_two_columns_equal_two_norms(random: torch.Generator) -> None:
    a = torch.randn(2, 12, 3, 3, generator=random)
    separate = [ResponseNorm(6, alpha=0.3)(half) for half in a.chunk(2, dim=1)]
    torch.testing.assert_close(
        ResponseNorm(12, alpha=0.3, columns=2)(a), torch.cat(separate, dim=1)
    )


@contextmanager
def saved_for_backward() -> Iterator[list[Tensor]]:
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield saved


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saves_its_input_and_nothing_else(random: torch.Generator, dtype: torch.dtype) -> None:
    a = torch.randn(2, 96, 13, 13, generator=random).to(dtype).requires_grad_()
    with saved_for_backward() as saved:
        ResponseNorm(96, columns=2)(a)
    assert [tensor.data_ptr() for tensor in saved] == [a.data_ptr()]


def test_plain_torch_operations_save_more(random: torch.Generator) -> None:
    a = torch.randn(2, 96, 13, 13, generator=random).requires_grad_()
    with saved_for_backward() as saved:
        nn.LocalResponseNorm(5)(a)
    assert sum(tensor.nbytes for tensor in saved) > 3 * a.nbytes


def test_the_input_is_left_as_it_is(random: torch.Generator) -> None:
    a = torch.randn(2, 8, 3, 3, generator=random)
    before = a.clone()
    ResponseNorm(8)(a)
    assert torch.equal(a, before)


@COLUMNS
def test_channels_last_stays_channels_last_and_agrees(
    random: torch.Generator, columns: int
) -> None:
    norm = ResponseNorm(16, alpha=0.3, columns=columns)
    a = torch.randn(2, 16, 7, 5, generator=random)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = a.clone(memory_format=layout).requires_grad_()
        y = norm(x)
        assert y.is_contiguous(memory_format=layout)
        y.square().sum().backward()
        assert x.grad is not None
        results.append((y, x.grad))
    torch.testing.assert_close(results[0], results[1])


@COLUMNS
def test_bfloat16_agrees_within_its_rounding(random: torch.Generator, columns: int) -> None:
    a = (5 * torch.randn(2, 16, 7, 5, generator=random)).bfloat16()
    norm = ResponseNorm(16, alpha=0.1, columns=columns)
    exact = formula(a.double().numpy(), n=5, k=2, alpha=0.1, beta=0.75, columns=columns)
    found = norm(a)
    assert found.dtype == torch.bfloat16
    # Square, α, sum, two roots and two products: each is rounded by at most 2⁻⁸.
    np.testing.assert_allclose(found.double().numpy(), exact, rtol=7 * 2**-8)


def test_autocast_normalizes_in_its_type(random: torch.Generator) -> None:
    a = torch.randn(2, 16, 7, 5, generator=random).requires_grad_()
    norm = ResponseNorm(16, alpha=0.3)
    with torch.autocast("cpu", torch.bfloat16):
        b = norm(a)
    assert b.dtype == torch.bfloat16
    b.float().sum().backward()
    assert a.grad is not None
    assert a.grad.dtype == torch.float32


def test_zeros_stay_zeros() -> None:
    a = torch.zeros(1, 8, 2, 2, requires_grad=True)
    b = ResponseNorm(8)(a)
    b.sum().backward()
    assert not b.any()
    assert a.grad is not None
    torch.testing.assert_close(a.grad, torch.full_like(a, 2**-0.75))


def test_has_nothing_to_store() -> None:
    norm = ResponseNorm(8)
    assert not norm.state_dict()
    assert not list(norm.parameters())


def test_maps_that_do_not_split_into_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="7 maps cannot be split into 2 equal columns"):
        ResponseNorm(7, columns=2)


# Compiled


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ResponseNorm, "compiled", True)
    monkeypatch.setattr(layers, "LARGE", 0)
    layers._compiled.cache_clear()
    yield
    layers._compiled.cache_clear()


def both_ways(norm: nn.Module, a: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """What comes out and the derivative."""
    a = a.detach().requires_grad_()
    b = norm(a)
    b.backward(gradient)
    assert a.grad is not None
    return b.detach(), a.grad


@pytest.mark.long
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="needs a C++ compiler"
)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-6), (torch.float16, 2e-3)]
)
def test_compiled_it_is_the_formula_and_its_derivative(
    compiled: None, random: torch.Generator, dtype: torch.dtype, tolerance: float
) -> None:
    norm = ResponseNorm(16, alpha=0.01, columns=2)
    for images in (4, 3):
        a = (5 * torch.randn(images, 16, 7, 5, generator=random)).to(dtype)
        a = a.to(memory_format=torch.channels_last)
        gradient = torch.randn(a.shape, generator=random).to(dtype)
        found = both_ways(norm, a, gradient)
        ResponseNorm.compiled = False
        exact = both_ways(norm, a.double(), gradient.double())
        ResponseNorm.compiled = True
        for mine, theirs in zip(found, exact, strict=True):
            assert mine.dtype == dtype
            assert mine.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(mine.double(), theirs, rtol=tolerance, atol=tolerance)


def test_without_a_compiler_it_is_computed_as_it_is_and_told_once(
    compiled: None,
    random: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def no_compiler(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no working C++ compiler\nfound in a long list of places")

    compile_with = torch.compile
    monkeypatch.setattr(
        torch,
        "compile",
        lambda f, dynamic, options: compile_with(f, dynamic=dynamic, backend=no_compiler),
    )
    a = torch.randn(2, 8, 3, 3, generator=random)
    norm, gradient = ResponseNorm(8), torch.ones(2, 8, 3, 3)
    found = both_ways(norm, a, gradient)
    assert not ResponseNorm.compiled
    torch.testing.assert_close(found, both_ways(norm, a, gradient))
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["response normalization is not compiled (no working C++ compiler)"]


def test_one_code_serves_batches_of_all_sizes_and_every_network_gets_its_own(
    compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilations = 0

    def counted(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        nonlocal compilations
        compilations += 1
        return graph.forward

    compile_with = torch.compile
    monkeypatch.setattr(
        torch,
        "compile",
        lambda f, dynamic, options: compile_with(f, dynamic=dynamic, backend=counted),
    )
    # The baseline, one GPU, the 2012 program, another width, Caffe's windows over both columns.
    networks = [
        *((2, {}, 1.0), (1, {}, 1.0), (2, {"divide_alpha_by_n": True}, 1.0), (2, {}, 0.5)),
        (1, {"k": 1.0}, 1.0),
    ]
    for number, (columns, constants, width) in enumerate(networks, 1):
        for maps, side in ((96, 5), (256, 3)):
            norm = ResponseNorm(columns=columns, **constants)
            for images in (6, 4):  # whole batches of training, and the last one
                a = torch.randn(images, int(width * maps) // (3 - columns), side, side)
                both_ways(norm, a, torch.ones_like(a))
            with torch.no_grad():
                for images in (6, 3, 60, 30):  # validation, its last batch, ten crops of both
                    norm(torch.randn(images, *a.shape[1:]))
        assert compilations == 4 * number  # two layers, there and back


H100 = ("cuda", 0, 132, 90, 9, 65_536, 2_048, 1_024, 32)
"""What inductor asks of a device; its compute capability is 9.0."""


def gpu_code(
    function: Callable[..., Tensor], tensors: int, shape: tuple[int, ...], dtype: torch.dtype
) -> str:
    """What inductor writes for an H100, which need not be there, and batches of any size."""
    from torch._dynamo.source import ConstantSource
    from torch._inductor import config, scheduler
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.graph import GraphLowering
    from torch._inductor.runtime.hints import DeviceProperties
    from torch._inductor.virtualized import V
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental import symbolic_shapes as symbolic
    from torch.fx.experimental.proxy_tensor import make_fx

    sizes, environment = symbolic.DimDynamic, symbolic.ShapeEnv()
    any_batch = symbolic.StatelessSymbolicContext([sizes.DYNAMIC, *[sizes.STATIC] * 3])
    mode = FakeTensorMode(shape_env=environment)
    like = torch.empty(shape, dtype=dtype, device="meta", memory_format=torch.channels_last)
    fake = mode.from_tensor(like, symbolic_context=any_batch, source=ConstantSource("a"))
    with mode:
        on_gpu = {"dtype": dtype, "device": "cuda:0"}
        given = [torch.empty_strided(fake.size(), fake.stride(), **on_gpu) for _ in range(tensors)]
        graph = make_fx(
            lambda *tensors: function(*tensors, 5, 2.0, 1e-4, 0.75, 2), select_decomp_table()
        )(*given)
    lowered = GraphLowering(graph, example_inputs=given, shape_env=environment)
    with (
        config.patch(layers.ONE_KERNEL),
        mock.patch.object(DeviceProperties, "create", return_value=DeviceProperties(*H100)),
        mock.patch.object(scheduler, "has_triton", return_value=True),
        mock.patch("torch.utils._triton.triton_hash_with_backend", return_value=""),
        mock.patch("torch.cuda.get_device_capability", return_value=(9, 0)),
        V.set_graph_handler(lowered),
        V.set_fake_mode(mode),
        V.set_debug_handler(mock.MagicMock()),
    ):
        lowered.run(*given)
        code: str = lowered.codegen()[0].value
    return code


CONV1, CONV2 = (128, 96, 55, 55), (128, 256, 27, 27)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (CONV1, torch.float32),
        pytest.param(CONV1, torch.bfloat16, marks=pytest.mark.long),
        pytest.param(CONV2, torch.float32, marks=pytest.mark.long),
        pytest.param(CONV2, torch.bfloat16, marks=pytest.mark.long),
    ],
)
def test_a_gpu_gets_one_kernel_for_each_way_which_writes_nothing_but_the_result(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    pytest.importorskip("triton")
    for function, tensors in ((layers.normalize, 1), (layers.normalize_backward, 2)):
        code = gpu_code(function, tensors, shape, dtype)
        assert code.count("@triton.jit") == 1
        assert code.count("tl.store(") == 1
        # What is read is what is given, several times, of which memory gives it once.
        assert set(re.findall(r"tl\.load\(in_ptr(\d)", code)) == {str(n) for n in range(tensors)}
        assert len(re.findall("= empty_strided_cuda", code)) == 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("on", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-6), (torch.float16, 2e-3)]
)
def test_a_gpu_computes_the_formula_and_its_derivative(
    random: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    tolerance: float,
    on: bool,
) -> None:
    norm = ResponseNorm(96, columns=2)
    for images in (4, 3):
        a = (20 * torch.randn(images, 96, 9, 9, generator=random)).to(dtype)
        a = a.to("cuda", memory_format=torch.channels_last)
        gradient = torch.randn(a.shape, generator=random).to("cuda", dtype)
        monkeypatch.setattr(ResponseNorm, "compiled", on)
        found = both_ways(norm, a, gradient)
        assert ResponseNorm.compiled == on  # the compiler did not fail
        monkeypatch.setattr(ResponseNorm, "compiled", False)
        exact = both_ways(norm, a.double(), gradient.double())
        for mine, theirs in zip(found, exact, strict=True):
            torch.testing.assert_close(mine.double(), theirs, rtol=tolerance, atol=tolerance)


# The 2012 program's second norm


@pytest.mark.parametrize(("size", "scale", "beta"), [(5, 0.001, 0.75), (3, 0.4, 0.5)])
def test_within_map_norm_is_its_formula(
    random: torch.Generator, size: int, scale: float, beta: float
) -> None:
    a = (20 * torch.randn(1, 2, 7, 6, dtype=torch.float64, generator=random)).numpy()
    expected = np.empty_like(a)
    reach = size // 2
    for image, m, y, x in np.ndindex(a.shape):
        top, left = max(0, y - reach), max(0, x - reach)
        square = a[image, m, top : y + reach + 1, left : x + reach + 1]
        denominator = 1 + scale / size**2 * (square**2).sum()
        expected[image, m, y, x] = a[image, m, y, x] / denominator**beta
    found = WithinMapNorm(size, scale, beta)(torch.from_numpy(a))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_within_map_norm_defaults_are_those_of_the_2012_program() -> None:
    # A constant map: inside, all 25 squares of the neighbourhood count.
    a = torch.full((1, 1, 9, 9), 30.0, dtype=torch.float64)
    found = WithinMapNorm()(a)
    assert found[0, 0, 4, 4].item() == pytest.approx(30 / (1 + 0.001 / 25 * 25 * 900) ** 0.75)
    assert found[0, 0, 0, 0].item() == pytest.approx(30 / (1 + 0.001 / 25 * 9 * 900) ** 0.75)


def test_within_map_norm_has_the_right_derivative(random: torch.Generator) -> None:
    a = torch.randn(1, 2, 4, 4, dtype=torch.float64, generator=random).requires_grad_()
    assert torch.autograd.gradcheck(WithinMapNorm(3, 0.4, 0.75), (a,))


@pytest.mark.parametrize(("batches", "compiled"), [(1, False), (499, False), (500, True)])
def test_norms_are_compiled_for_long_runs_only(batches: int, compiled: bool) -> None:
    compile_norms(batches)
    try:
        assert ResponseNorm.compiled == compiled
    finally:
        ResponseNorm.compiled = False


# What torch.nn.LocalResponseNorm takes


@pytest.mark.parametrize("shape", [(2, 9), (2, 9, 7), (2, 9, 5, 4), (2, 9, 3, 4, 2)])
@pytest.mark.parametrize("n", [4, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_takes_any_number_of_dimensions_and_equals_torch(
    random: torch.Generator, shape: tuple[int, ...], n: int, dtype: torch.dtype
) -> None:
    a = 5 * torch.randn(shape, dtype=dtype, generator=random)
    # torch's wants three dimensions at least.
    other = (a if a.dim() > 2 else a[..., None]).clone().requires_grad_()
    a.requires_grad_()
    ours, theirs = ResponseNorm(n=n, alpha=0.1), nn.LocalResponseNorm(n, alpha=0.1 * n, k=2.0)
    b, expected = ours(a), theirs(other)
    torch.testing.assert_close(b, expected.reshape(b.shape))
    b.square().sum().backward()
    expected.square().sum().backward()
    assert a.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(a.grad, other.grad.reshape(a.shape))


def test_images_without_a_batch_are_told_by_the_dimension_of_their_maps(
    random: torch.Generator,
) -> None:
    a = torch.randn(2, 8, 5, 4, generator=random)
    norm = ResponseNorm(alpha=0.3, columns=2, dim=-3)
    torch.testing.assert_close(norm(a), ResponseNorm(alpha=0.3, columns=2)(a))
    torch.testing.assert_close(norm(a[0]), norm(a)[0])


@pytest.mark.parametrize("shape", [(2, 7, 3, 3), (2, 7)])
def test_an_input_that_does_not_split_into_columns_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="7 maps cannot be split into 2 equal columns"):
        ResponseNorm(columns=2)(torch.zeros(shape))


# Large inputs


@pytest.mark.parametrize(
    ("dtype", "sizes", "tolerance"),
    [
        (torch.float16, (200, 1e3, 1e4, 6e4), 2e-3),
        (torch.bfloat16, (1e3, 1e10, 1e15, 1e18), 0.03),
        (torch.float32, (1e3, 1e10, 1e15, 1e18), 1e-4),
    ],
)
@pytest.mark.parametrize("shape", [(2, 12, 3, 3), (2, 12, 3)])
def test_large_inputs_are_normalized_like_others(
    random: torch.Generator,
    dtype: torch.dtype,
    sizes: tuple[float, ...],
    tolerance: float,
    shape: tuple[int, ...],
) -> None:
    norm = ResponseNorm(columns=2)
    for size in sizes:
        a = (size * torch.rand(shape, generator=random)).to(dtype).requires_grad_()
        b = norm(a)
        b.backward(torch.ones_like(b))
        exact = a.detach().double().requires_grad_()
        norm(exact).sum().backward()
        assert a.grad is not None
        assert exact.grad is not None
        torch.testing.assert_close(b.double(), norm(exact), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(a.grad.double(), exact.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(2, 12, 3, 3), (2, 12, 3)])
@pytest.mark.parametrize("alpha", [1e-4, 10.0])
def test_where_a_square_overflows_the_output_is_finite_and_other_windows_know_nothing(
    dtype: torch.dtype, shape: tuple[int, ...], alpha: float
) -> None:
    a = torch.ones(shape, dtype=dtype)
    a[:, 4] = 1e38
    a.requires_grad_()
    norm = ResponseNorm(n=3, alpha=alpha)
    b = norm(a)
    b.backward(torch.ones_like(b))
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert b.isfinite().all()
    everywhere = torch.full(shape, 1e38, dtype=dtype, requires_grad=True)
    norm(everywhere).sum().backward()
    assert norm(everywhere).isfinite().all()
    assert everywhere.grad is not None
    assert everywhere.grad.isfinite().all()
    untouched = norm(torch.ones(shape, dtype=dtype))
    assert torch.equal(b[:, :3], untouched[:, :3])
    assert torch.equal(b[:, 6:], untouched[:, 6:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1, 5])
def test_the_norm_within_maps_is_finite_for_any_input_too(dtype: torch.dtype, size: int) -> None:
    for value in (1e18, 5e18, 1e19, 3e38):
        a = torch.full((2, 3, 8, 8), value, dtype=dtype, requires_grad=True)
        b = WithinMapNorm(size)(a)
        b.sum().backward()
        assert a.grad is not None
        assert b.isfinite().all()
        assert a.grad.isfinite().all()


def test_constants_are_floats_however_they_are_written() -> None:
    b = ResponseNorm(k=10**30, alpha=1, beta=1)(torch.ones(1, 5))
    torch.testing.assert_close(b, torch.full((1, 5), 1e-30))
    with pytest.raises(ValueError, match="n=1000000: input should be less than or equal to 4096"):
        ResponseNorm(n=10**6)
