"""How near a step comes to what its convolutions and matrix products take alone."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from alexnet_repro import AlexNet
from alexnet_repro.benchmarks.report import Measured
from alexnet_repro.benchmarks.timing import Contender, interleaved

PRODUCTS = {
    "aten::mkldnn_convolution",
    "aten::cudnn_convolution",
    "aten::convolution_backward",
    "aten::addmm",
    "aten::mm",
}


@dataclass(frozen=True)
class Product:
    """The convolution or matrix product of a layer, forward and backward.

    Attributes:
        name: of the layer.
        multiply_adds: of both ways together, for the batch.
        run: both ways alone, on tensors of the layer's shapes.
    """

    name: str
    multiply_adds: float
    run: Callable[[], object]


def roof(device: torch.device, batch_size: int, rounds: int) -> Measured:
    """The products of a fast step within it, as a profiler sees them, and alone."""
    from alexnet_repro.benchmarks.train_step import FAST, step_of

    step = step_of(FAST, device, batch_size)
    network = step.network
    assert isinstance(network, AlexNet)
    alone = products(network, step.images, torch.bfloat16)
    within: list[dict[str, float]] = []

    def profiled() -> None:
        with profile(activities=_activities(device), record_shapes=True) as seen:
            step()
        within.append(_seconds_by_layer(network, seen.events(), device))

    *timed, _ = interleaved(
        [
            *(Contender(product.name, product.run) for product in alone),
            Contender("a step, profiled", profiled),
        ],
        rounds,
    )
    rows = []
    for product, timing in zip(alone, timed, strict=True):
        flops = 2e-9 * product.multiply_adds
        seconds = sorted(found[product.name] for found in within)[len(within) // 2]
        rows.append(
            {
                "layer": product.name,
                "GFLOP": round(flops, 1),
                "GFLOP/s in the step": round(flops / seconds),
                "GFLOP/s alone": round(flops / timing.median),
            }
        )
    total = sum(2e-9 * product.multiply_adds for product in alone)
    taken = sorted(sum(found.values()) for found in within)[len(within) // 2]
    needed = sum(timing.median for timing in timed)
    return Measured(
        f"Convolutions and matrix products of a fast step on {batch_size} images, in bfloat16",
        rows,
        {
            "GFLOP/s in the step": round(total / taken),
            "GFLOP/s alone": round(total / needed),
            "in the step, percent of alone": round(100 * needed / taken, 1),
        },
    )


def products(network: AlexNet, images: Tensor, dtype: torch.dtype) -> list[Product]:
    """The products of every layer, each with inputs as its layer gets them."""
    found, x = [], images
    for name, layer in network.named_children():
        with torch.no_grad(), torch.autocast(images.device.type, dtype):
            y = layer(x)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # The first layer needs no gradient of the image.
            ways = 2 if name == "conv1" else 3
            positions = prod(y.shape[2:]) * len(y)
            multiply_adds = float(ways * layer.weight.numel() * positions)
            found.append(Product(name, multiply_adds, _alone(layer, x, y, dtype, ways == 3)))
        x = y
    return found


def _alone(
    layer: nn.Module, x: Tensor, y: Tensor, dtype: torch.dtype, input_gradient: bool
) -> Callable[[], object]:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    x, gradient = x.detach().to(dtype), torch.randn_like(y, dtype=dtype)
    weight, bias = layer.weight.detach().to(dtype), layer.bias.detach().to(dtype)  # type: ignore[union-attr]
    if isinstance(layer, nn.Linear):

        def linear() -> None:
            torch.addmm(bias, x, weight.t())
            torch.mm(gradient.t(), x)
            torch.mm(gradient, weight)

        return linear
    wanted = (input_gradient, True, True)
    shape = list(layer.stride), list(layer.padding), list(layer.dilation)
    convolution = torch.ops.aten.convolution

    def both_ways() -> None:
        convolution(x, weight, bias, *shape, False, [0, 0], layer.groups)
        torch.ops.aten.convolution_backward(
            gradient, x, weight, [len(bias)], *shape, False, [0, 0], layer.groups, wanted
        )

    return both_ways


def _activities(device: torch.device) -> list[ProfilerActivity]:
    cuda = [ProfilerActivity.CUDA] if device.type == "cuda" else []
    return [ProfilerActivity.CPU, *cuda]


def _seconds_by_layer(
    network: AlexNet, events: list[FunctionEvent], device: torch.device
) -> dict[str, float]:
    """Of the products of one step, told apart by the shapes of their weights.

    conv1, … have weights of their own shapes; fully connected layers are known by two sizes.
    """
    weights = {
        name: tuple(layer.weight.shape)
        for name, layer in network.named_children()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }
    seconds = dict.fromkeys(weights, 0.0)
    for event in events:
        if event.name in PRODUCTS:
            shapes = [tuple(shape) for shape in event.input_shapes if shape]  # type: ignore[arg-type, var-annotated]
            time = event.device_time_total if device.type == "cuda" else event.self_cpu_time_total
            for name, weight in weights.items():
                if _belongs(event.name, shapes, weight):
                    seconds[name] += 1e-6 * time
    return seconds


def _belongs(name: str, shapes: list[tuple[int, ...]], weight: tuple[int, ...]) -> bool:
    if "convolution" in name:
        return weight in shapes
    if len(weight) != 2:
        return False
    # x·Wᵀ, gradientᵀ·x or gradient·W: of the matrices' three sizes one is the batch.
    sizes = {size for shape in shapes if len(shape) == 2 for size in shape}
    return set(weight) <= sizes and len(sizes) == len({*weight}) + 1
