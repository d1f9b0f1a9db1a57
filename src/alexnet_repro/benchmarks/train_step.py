"""A training step of the paper's network, beside a plain one and torchvision's AlexNet."""

import multiprocessing
import resource
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torchvision.models import alexnet as torchvision_alexnet

from alexnet_repro import AlexNet, ResponseNorm
from alexnet_repro.benchmarks.command import Command
from alexnet_repro.benchmarks.report import Measured
from alexnet_repro.benchmarks.roof import roof
from alexnet_repro.benchmarks.step import fastest_device, train_once
from alexnet_repro.benchmarks.timing import Contender, Timing, interleaved
from alexnet_repro.learning.sgd import PaperSGD
from alexnet_repro.memory import keep_freed_memory
from alexnet_repro.network.pooling import MaxPool

PLAIN, TORCHVISION = "plain", "torchvision"
"""The network with ``torch.nn.LocalResponseNorm``, and torchvision's; fp32 and torch's SGD."""
EXACT, FAST, FAST_NO_NORM = "exact", "fast", "fast, no norm"
UPDATE = "update of fast, alone"
KEPT = " (memory kept)"
CLASSES = 1000


def train_step(batch_size: int, rounds: int, command_epochs: int) -> Iterator[Measured]:
    """Time and peak memory of a step, its distance from the roof, and of the whole command.

    A step is forward, backward and update with dropout, on images that are on the device. The
    other networks are timed as they are and in a process that keeps freed memory, as ours does.

    Args:
        batch_size: images of a step.
        rounds: of timing.
        command_epochs: epochs of ten steps that each round of the whole command takes; 0 for not
            measuring it.
    """
    device = fastest_device()
    yield _steps(device, batch_size, rounds)
    keep_freed_memory()
    yield roof(device, batch_size, rounds)
    if command_epochs:
        yield _whole_command(device, batch_size, rounds, command_epochs)


def step_of(name: str, device: torch.device, batch_size: int, classes: int = CLASSES) -> "Step":
    """The step of a contender, with a network and optimizer of its own."""
    channels_last = name in (EXACT, FAST, FAST_NO_NORM)
    network = _network(name, classes).to(device)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = (
        PaperSGD(network.parameters())
        if channels_last
        else SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    )
    return Step(network, optimizer, device, batch_size, classes, name in (FAST, FAST_NO_NORM))


def _network(name: str, classes: int) -> nn.Module:
    if name == TORCHVISION:
        return torchvision_alexnet(num_classes=classes)  # type: ignore[no-any-return]
    network = AlexNet(classes, response_norm=None if name == FAST_NO_NORM else {})
    if name == PLAIN:
        for layer, module in list(network.named_children()):
            if isinstance(module, ResponseNorm):
                alpha = module.n * module.alpha
                norm = nn.LocalResponseNorm(module.n, alpha, module.beta, module.k)
                setattr(network, layer, norm)
            elif isinstance(module, MaxPool):
                setattr(network, layer, nn.MaxPool2d(module.kernel_size, module.stride))
    return network


class Step:
    """One training step on random images. Calling it makes the step."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        device: torch.device,
        batch_size: int,
        classes: int,
        bf16: bool,
    ) -> None:
        self.network, self.optimizer, self.bf16 = network, optimizer, bf16
        random = torch.Generator().manual_seed(0)
        images = 50 * torch.randn(batch_size, 3, 224, 224, generator=random)
        layout = torch.channels_last if isinstance(optimizer, PaperSGD) else torch.contiguous_format
        self.images: Tensor = images.to(device, memory_format=layout)
        self.label = torch.randint(classes, (batch_size,), generator=random).to(device)

    def __call__(self) -> None:
        train_once(self.network, self.optimizer, self.images, self.label, self.bf16)


def _steps(device: torch.device, batch_size: int, rounds: int) -> Measured:
    ours = dict.fromkeys((EXACT, FAST, FAST_NO_NORM), True)
    names = {PLAIN: False, TORCHVISION: False, PLAIN + KEPT: True, TORCHVISION + KEPT: True} | ours
    peaks = {name: _peak_memory(name, kept, device, batch_size) for name, kept in names.items()}
    with _process(kept=False) as usual, _process(kept=True) as keeping:
        places = {name: keeping if kept else usual for name, kept in names.items()}
        for name, place in places.items():
            place.apply(_make, (name, device, batch_size))
        timed = interleaved(
            [
                Contender(name, partial(place.apply, _run, (name,)), batch_size)
                for name, place in (places | {UPDATE: keeping}).items()
            ],
            rounds,
        )
    by_name = {timing.name: timing for timing in timed}
    fast, exact, plain = by_name[FAST], by_name[EXACT], by_name[PLAIN]
    times = {
        f"{mine.name}, times as fast as {theirs}": round(mine.times_faster_than(by_name[theirs]), 2)
        for mine in (fast, exact)
        for theirs in (PLAIN, PLAIN + KEPT, TORCHVISION, TORCHVISION + KEPT)
    }
    return Measured(
        f"A training step on {batch_size} images ({_precision(device)})",
        [by_name[name].row(plain) | {"peak_MB": round(peaks[name])} for name in names],
        {
            "ratio to": PLAIN,
            **times,
            "response normalization, percent of a fast step": _percent(
                fast, lambda step, without: 1 - without / step, by_name[FAST_NO_NORM]
            ),
            "update, percent of a fast step": _percent(
                fast, lambda step, alone: alone / step, by_name[UPDATE]
            ),
            **{
                f"peak memory of {name}, percent of {other}": round(
                    100 * peaks[name] / peaks[other]
                )
                for name in (EXACT, FAST)
                for other in (PLAIN, PLAIN + KEPT)
            },
        },
    )


def _process(kept: bool) -> Pool:
    """A process for contenders that do or do not keep freed memory."""
    context = multiprocessing.get_context("spawn")
    return context.Pool(1, keep_freed_memory if kept else None)


_made: dict[str, Callable[[], object]] = {}
"""The steps of this process."""


def _make(name: str, device: torch.device, batch_size: int) -> None:
    step = step_of(name.removesuffix(KEPT), device, batch_size)
    _made[name] = step
    if name == FAST:
        _made[UPDATE] = _update(step)


def _run(name: str) -> None:
    _made[name]()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _percent(whole: Timing, share: Callable[[float, float], float], part: Timing) -> float:
    """Median over the rounds of a share, in percent."""
    shares = [share(w, p) for w, p in zip(whole.seconds, part.seconds, strict=True)]
    return round(100 * sorted(shares)[len(shares) // 2], 1)


def _update(step: Step) -> Callable[[], object]:
    """The update of a step alone, with gradients of zero."""
    parameters = list(step.network.parameters())
    gradients = [torch.zeros_like(weights) for weights in parameters]

    def update() -> None:
        for weights, gradient in zip(parameters, gradients, strict=True):
            weights.grad = gradient
        step.optimizer.step()
        step.optimizer.zero_grad()

    return update


def _precision(device: torch.device) -> str:
    if device.type == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    tf32 = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    return f"{torch.cuda.get_device_name(device)}, TF32 {'allowed' if tf32 else 'off'}"


def _peak_memory(name: str, kept: bool, device: torch.device, batch_size: int) -> float:
    """Megabytes that steps need at most, beyond what the program takes: in a process of its own."""
    with _process(kept) as process:
        return process.apply(_peak, (name.removesuffix(KEPT), device, batch_size))


def _peak(name: str, device: torch.device, batch_size: int) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = step_of(name, device, batch_size)
    for _ in range(2):
        step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6


def _whole_command(device: torch.device, batch_size: int, rounds: int, epochs: int) -> Measured:
    """The bare step and ``alexnet_repro.train`` on the miniature set, in turn."""
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as temporary:
        command = Command(Path(temporary), batch_size, epochs)
        command()
        step = step_of(FAST, device, batch_size, classes=10)
        bare, whole = [], []
        for _ in range(rounds):
            (timing,) = interleaved([Contender(FAST, step, batch_size)], rounds=8)
            bare.append(timing.rate)
            whole.append(command())
    shares = sorted(w / b for w, b in zip(whole, bare, strict=True))
    return Measured(
        "The whole command: data, augmentation, metrics, logging and progress",
        [
            {"name": name, "per_second": round(sorted(rates)[len(rates) // 2], 1)}
            | {"slowest": round(min(rates), 1), "fastest": round(max(rates), 1)}
            for name, rates in (("bare step", bare), ("alexnet_repro.train", whole))
        ],
        {"share of the bare step's images/s": round(shares[len(shares) // 2], 3)},
    )
