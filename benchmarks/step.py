"""A training step beside plain ones, its distance from its roof, and what it is part of."""

import argparse
import csv
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.profiler_util import FunctionEvent
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.profiler import ProfilerActivity, profile
from torchvision.models import alexnet as torchvision_alexnet

from alexnet_repro import AlexNet, ResponseNorm
from alexnet_repro.base.system import keep_freed_memory
from alexnet_repro.data.augment import Augmentation
from alexnet_repro.data.statistics import Statistics
from alexnet_repro.network.crops import log_probabilities
from alexnet_repro.network.layers import MaxPool
from alexnet_repro.training.device import compile_network
from alexnet_repro.training.sgd import PaperSGD
from measuring import Measured, in_turn, positive, run, seconds

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PLAIN, TORCHVISION = "plain", "torchvision"
"""The network with ``torch.nn.LocalResponseNorm``, and torchvision's; fp32 and torch's SGD."""
TUNED = ", tuned"
"""As who knows torch well trains the same network: bfloat16, channels last, compiled."""
EXACT, FAST, FAST_NO_NORM, COMPILED = "exact", "fast", "fast, no norm", "fastest"
UPDATE = "update of fast, alone"
KEPT = " (memory kept)"
PARTS = ("steps", "tuned", "roof", "norm", "crops", "command")


def step(
    batch_size: int, width: float, parts: Sequence[str], command_epochs: int, rounds: int
) -> Iterator[Measured]:
    """Time and peak memory of steps, and of what :data:`PARTS` are asked for, on the device.

    Args:
        width: of the networks, torchvision's excepted.
    """
    if "steps" in parts or "tuned" in parts:
        yield steps(batch_size, width, rounds, "tuned" in parts)
    _prepare(kept=True)
    if "roof" in parts:
        yield roof(batch_size, width, rounds)
    if "norm" in parts:
        yield from response_norm(batch_size, rounds)
    if "crops" in parts:
        yield from ten_crops(batch_size, width, rounds)
    if "command" in parts:
        yield whole_command(batch_size, width, rounds, command_epochs)


@dataclass(frozen=True)
class Step:
    """Forward, backward and update on one batch; with ``bf16`` where that is safe."""

    network: Callable[[Tensor], Tensor]
    optimizer: Optimizer
    images: Tensor
    label: Tensor
    bf16: bool

    def __call__(self) -> None:
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.network(self.images)
        cross_entropy(logits.float(), self.label).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()


def random_batch(size: int, classes: int = 1000) -> tuple[Tensor, Tensor]:
    """Images (size, 3, 224, 224) of pixels' range, channels last, and labels."""
    random = torch.Generator().manual_seed(0)
    images = 50 * torch.randn(size, 3, 224, 224, generator=random)
    label = torch.randint(classes, (size,), generator=random)
    return images.to(DEVICE, memory_format=torch.channels_last), label.to(DEVICE)


def step_of(name: str, batch_size: int, width: float = 1.0, classes: int = 1000) -> Step:
    """The step of a contender, with a network and optimizer of its own."""
    network, (images, label) = network_of(name, width, classes), random_batch(batch_size, classes)
    tuned, ours = name.endswith(TUNED), not name.startswith((PLAIN, TORCHVISION))
    if ours or tuned:
        network = network.to(memory_format=torch.channels_last)
    if tuned or name == COMPILED:
        compile_network(network, DEVICE.type == "cpu")
    if ours:
        return Step(network, PaperSGD(network.parameters()), images, label, bf16=name != EXACT)
    sgd = SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=tuned)
    return Step(network, sgd, images if tuned else images.contiguous(), label, bf16=tuned)


def network_of(name: str, width: float, classes: int) -> nn.Module:
    """The network of a contender, on the device."""
    if name.startswith(TORCHVISION):
        return torchvision_alexnet(num_classes=classes).to(DEVICE)  # type: ignore[no-any-return]
    network = AlexNet(classes, width=width, response_norm=None if name == FAST_NO_NORM else {})
    if name.startswith(PLAIN):
        for layer, module in list(network.named_children()):
            if isinstance(module, ResponseNorm):
                alpha = module.n * module.alpha
                norm = nn.LocalResponseNorm(module.n, alpha, module.beta, module.k)
                setattr(network, layer, norm)
            elif isinstance(module, MaxPool):
                setattr(network, layer, nn.MaxPool2d(module.kernel_size, module.stride))
    return network.to(DEVICE)


def steps(batch_size: int, width: float, rounds: int, tuned: bool) -> Measured:
    """Every contender's step, with those that take a minute to compile if ``tuned``.

    On a CPU the networks of others are timed as they are and in a process that keeps freed memory,
    as ours does.
    """
    kept = dict.fromkeys((EXACT, FAST, FAST_NO_NORM), True)
    if tuned:
        kept |= dict.fromkeys((COMPILED, PLAIN + TUNED, TORCHVISION + TUNED), True)
    if DEVICE.type == "cpu":
        kept = {PLAIN + KEPT: True, TORCHVISION + KEPT: True} | kept
    kept = {PLAIN: False, TORCHVISION: False} | kept
    peaks = {}
    for name, keep in kept.items():
        with _process(keep) as alone:
            peaks[name] = alone.apply(_peak_megabytes, (name.removesuffix(KEPT), batch_size, width))
    with _process(kept=False) as usual, _process(kept=True) as keeping:
        places = {name: keeping if keep else usual for name, keep in kept.items()}
        for name, place in places.items():
            place.apply(_make, (name, batch_size, width))
        timings = in_turn(
            {
                name: partial(place.apply, _seconds_of, (name,))
                for name, place in (places | {UPDATE: keeping}).items()
            },
            rounds,
            batch_size,
        )
    timing = {timing.name: timing for timing in timings}
    fast, others = timing[FAST], [name for name in kept if name.startswith((PLAIN, TORCHVISION))]
    return Measured(
        f"A training step on {batch_size} images ({_arithmetic()})",
        [timing[name].row(timing[PLAIN]) | {"peak_MB": round(peaks[name])} for name in kept],
        {
            "ratio to": PLAIN,
            **{
                f"{mine}, times as fast as {other}": round(
                    timing[mine].times_as_fast_as(timing[other]), 2
                )
                for mine in (FAST, EXACT)
                for other in others
            },
            "response normalization, percent of a fast step": round(
                100 - 100 * fast.times_as_fast_as(timing[FAST_NO_NORM]), 1
            ),
            "update, percent of a fast step": round(100 * fast.times_as_fast_as(timing[UPDATE]), 1),
            **{
                f"peak memory of {mine}, percent of {other}": round(
                    100 * peaks[mine] / peaks[other]
                )
                for mine in (EXACT, FAST)
                for other in others
                if other.startswith(PLAIN)
            },
        },
    )


def _arithmetic() -> str:
    if DEVICE.type == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    tf32 = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    return f"{torch.cuda.get_device_name()}, TF32 {'allowed' if tf32 else 'off'}"


def _process(kept: bool) -> Pool:
    """A process for contenders that do or do not keep freed memory."""
    return multiprocessing.get_context("spawn").Pool(1, _prepare, (kept,))


def _prepare(kept: bool) -> None:
    """Have this process do as a training of some length does; ``kept`` is about its memory."""
    ResponseNorm.compiled = True
    if kept:
        keep_freed_memory()


_made: dict[str, Callable[[], object]] = {}
"""The steps of this process."""


def _make(name: str, batch_size: int, width: float) -> None:
    _made[name] = step = step_of(name.removesuffix(KEPT), batch_size, width)
    if name == FAST:
        weights = [weight for group in step.optimizer.param_groups for weight in group["params"]]
        gradients = [torch.zeros_like(weight) for weight in weights]

        def update() -> None:
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            step.optimizer.step()
            step.optimizer.zero_grad()

        _made[UPDATE] = update


def _seconds_of(name: str) -> float:
    return seconds(_made[name])


def _peak_megabytes(name: str, batch_size: int, width: float) -> float:
    """What steps need at most, beyond what the program takes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = step_of(name, batch_size, width)
    for _ in range(2):
        step()
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6


@dataclass(frozen=True)
class Product:
    """The convolution or matrix product of a layer, forward and backward.

    Attributes:
        name: of the layer.
        weight: its shape.
        multiply_adds: of both ways together, for the batch.
        run: both ways alone, on tensors of the layer's shapes.
    """

    name: str
    weight: tuple[int, ...]
    multiply_adds: int
    run: Callable[[], object]

    def rate(self, taken: float) -> int:
        """GFLOP/s, if it takes so many seconds."""
        return round(2e-9 * self.multiply_adds / taken)


def roof(batch_size: int, width: float, rounds: int) -> Measured:
    """The products of a fast step within it, as a profiler sees them, and alone."""
    step, within = step_of(FAST, batch_size, width), list[dict[str, float]]()
    assert isinstance(step.network, AlexNet)
    alone = products(step.network, step.images)
    cuda = [ProfilerActivity.CUDA] if DEVICE.type == "cuda" else []
    step()

    def profiled() -> float:
        with profile(activities=[ProfilerActivity.CPU, *cuda], record_shapes=True) as seen:
            step()
        within.append(seconds_within(alone, seen.events(), batch_size))
        return sum(within[-1].values())

    contenders = {product.name: partial(seconds, product.run) for product in alone}
    *timings, whole = in_turn(contenders | {"whole": profiled}, rounds)
    total = Product("", (), sum(product.multiply_adds for product in alone), step)
    needed = sum(timing.median for timing in timings)
    return Measured(
        f"Convolutions and matrix products of a fast step on {batch_size} images, in bfloat16",
        [
            {
                "layer": product.name,
                "GFLOP": round(2e-9 * product.multiply_adds, 1),
                "GFLOP/s in the step": product.rate(
                    statistics.median(taken[product.name] for taken in within)
                ),
                "GFLOP/s alone": product.rate(timing.median),
            }
            for product, timing in zip(alone, timings, strict=True)
        ],
        {
            "GFLOP/s in the step": total.rate(whole.median),
            "GFLOP/s alone": total.rate(needed),
            "in the step, percent of alone": round(100 * needed / whole.median, 1),
        },
    )


def products(network: AlexNet, images: Tensor) -> list[Product]:
    """The products of every layer in bfloat16, each with inputs as its layer gets them."""
    found, x = [], images
    for name, layer in network.named_children():
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16):
            y = layer(x)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # The first layer needs no gradient of the image.
            ways = 2 if name == "conv1" else 3
            multiply_adds = ways * layer.weight.numel() * prod(y.shape[2:]) * len(y)
            both_ways = _both_ways(layer, x.bfloat16(), torch.randn_like(y.bfloat16()), ways == 3)
            found.append(Product(name, tuple(layer.weight.shape), multiply_adds, both_ways))
        x = y
    return found


def _both_ways(
    layer: nn.Conv2d | nn.Linear, x: Tensor, gradient: Tensor, input_gradient: bool
) -> Callable[[], object]:
    assert layer.bias is not None
    weight, bias = layer.weight.detach().bfloat16(), layer.bias.detach().bfloat16()
    if isinstance(layer, nn.Linear):
        return lambda: (
            torch.addmm(bias, x, weight.t()),
            torch.mm(gradient.t(), x),
            torch.mm(gradient, weight),
        )
    shape: list[Any] = [list(layer.stride), list(layer.padding), list(layer.dilation)]
    shape += [False, [0, 0], layer.groups]
    aten, wanted = torch.ops.aten, (input_gradient, True, True)
    return lambda: (
        aten.convolution(x, weight, bias, *shape),
        aten.convolution_backward(gradient, x, weight, [len(bias)], *shape, wanted),
    )


def seconds_within(
    products: Sequence[Product], events: Sequence[FunctionEvent], batch_size: int
) -> dict[str, float]:
    """What each product takes of a step, told apart by the shapes of the weights."""
    taken = dict.fromkeys((product.name for product in products), 0.0)
    for event in events:
        convolution = event.name in (
            "aten::mkldnn_convolution",
            "aten::cudnn_convolution",
            "aten::convolution_backward",
        )
        if not convolution and event.name not in ("aten::addmm", "aten::mm"):
            continue
        shapes = [tuple(shape) for shape in event.input_shapes if shape]  # type: ignore[arg-type, var-annotated]
        # x·Wᵀ, gradientᵀ·x and gradient·W have the three sizes in different places.
        sizes = {size for shape in shapes if len(shape) == 2 for size in shape}
        for product in products:
            if product.weight in shapes if convolution else sizes == {batch_size, *product.weight}:
                on_gpu = DEVICE.type == "cuda"
                time = event.device_time_total if on_gpu else event.self_cpu_time_total
                taken[product.name] += 1e-6 * time
    return taken


def response_norm(batch_size: int, rounds: int) -> Iterator[Measured]:
    """Response normalization alone, beside torch's, at the shapes of conv1 and conv2."""
    for layer, maps, size in (("conv1", 96, 55), ("conv2", 256, 27)):
        a = 20 * torch.randn(batch_size, maps, size, size, device=DEVICE).relu()
        last, torchs = a.to(memory_format=torch.channels_last), nn.LocalResponseNorm(5, 5e-4, k=2)
        ours = ResponseNorm(maps, columns=2).to(DEVICE)
        contenders = {
            "torch, fp32, contiguous": _forward_and_backward(torchs, a),
            "torch, fp32, channels last": _forward_and_backward(torchs, last),
            "ours, float32, channels last": _forward_and_backward(ours, last),
            "ours, bfloat16, channels last": _forward_and_backward(ours, last.bfloat16()),
        }
        timings = in_turn({name: partial(seconds, f) for name, f in contenders.items()}, rounds)
        yield Measured(
            f"Normalizing {layer}: {batch_size}×{maps}×{size}×{size}, forward and backward",
            [timing.row(timings[0]) for timing in timings],
            {"ratio to": timings[0].name},
        )


def _forward_and_backward(norm: nn.Module, a: Tensor) -> Callable[[], object]:
    a = a.detach().requires_grad_()
    gradient = torch.randn_like(a)
    return lambda: torch.autograd.grad(norm(a), a, gradient)


def ten_crops(batch_size: int, width: float, rounds: int) -> Iterator[Measured]:
    """The logits of ten crops beside those of one (§5.1), from stored images."""
    network = AlexNet(width=width).to(DEVICE).to(memory_format=torch.channels_last).eval()
    statistics = Statistics(np.full((256, 256, 3), 128.0), np.ones(3), np.eye(3))
    views = Augmentation(statistics, 224, 224).to(DEVICE)
    images = torch.randint(256, (batch_size, 256, 256, 3), dtype=torch.uint8, device=DEVICE)

    @torch.inference_mode()
    def classify(crops: Any, fast: bool) -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=fast):
            log_probabilities(network, views.test_views(images, crops))

    for performance in (EXACT, FAST):
        contenders = {
            f"{crops} crop": partial(seconds, partial(classify, crops, performance == FAST))
            for crops in ("centre", "ten")
        }
        one, ten = in_turn(contenders, rounds, batch_size)
        yield Measured(
            f"Evaluating {batch_size} images, performance={performance}",
            [one.row(), ten.row()],
            {"ten crops, times one": round(one.times_as_fast_as(ten), 2)},
        )


def whole_command(batch_size: int, width: float, rounds: int, epochs: int) -> Measured:
    """``alexnet_repro.train`` on the miniature set, as its curve says, beside the step alone."""
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as directory:

        def train() -> float:
            command = [
                *(sys.executable, "-m", "alexnet_repro.train", "performance=fast"),
                *(f"data.batch_size={batch_size}", f"model.width={width}"),
                f"schedule.epochs={epochs + 1}",
                *("hydra.run.dir=run", "overwrite=true"),
                *("trainer.limit_train_batches=10", "trainer.limit_val_batches=1"),
                "trainer.limit_test_batches=1",
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=directory)
            with Path(directory, "run", "curve.csv").open() as file:
                rates = [float(epoch["images_per_second"]) for epoch in csv.DictReader(file)]
            return batch_size / statistics.median(rates[1:])

        bare, whole = in_turn(
            {
                "bare step": partial(seconds, step_of(FAST, batch_size, width, classes=10)),
                "alexnet_repro.train": train,
            },
            rounds,
            batch_size,
        )
    return Measured(
        "The whole command: data, augmentation, metrics, logging and progress",
        [bare.row(), whole.row()],
        {"share of the bare step's images/s": round(whole.times_as_fast_as(bare), 3)},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=positive, default=128, help="images of a step")
    parser.add_argument("--width", type=float, default=1.0, help="of our networks")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help="some of these"
    )
    parser.add_argument("--command-epochs", type=positive, default=2, help="of ten steps each")
    run(parser, step)
