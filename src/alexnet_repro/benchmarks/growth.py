"""How cost grows with the batch, the classes, the width and the images of a set."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from alexnet_repro import AlexNet
from alexnet_repro.benchmarks.report import Measured
from alexnet_repro.benchmarks.step import fastest_device
from alexnet_repro.benchmarks.timing import Contender, Timing, interleaved
from alexnet_repro.benchmarks.train_step import Step
from alexnet_repro.cores import usable_cores
from alexnet_repro.data.manifest import StoredAs
from alexnet_repro.data.preparation import prepare
from alexnet_repro.data.sources import Source, Split
from alexnet_repro.data.store import open_store
from alexnet_repro.learning.sgd import PaperSGD
from alexnet_repro.memory import keep_freed_memory

SMALL = 8
"""Pixels a side of generated images: what is told apart here is their number, not their size."""

WARM_UP = 3
"""Steps that do not count: the first two of 512 images ask the system for more memory, whose pages
it clears first."""

READS = 20_000
"""In a round: so many that opening each shard the first time is told apart from reading."""


def growth(
    batches: Sequence[int],
    classes: Sequence[int],
    widths: Sequence[float],
    images: Sequence[int],
    batch_size: int,
    rounds: int,
) -> Iterator[Measured]:
    """A training step (performance=fast) as one thing grows, and stores of more and more images.

    Args:
        batches: images of a step.
        classes: neurons of fc8.
        widths: of the network.
        images: of a store.
        batch_size: images of a step where classes or width grow.
        rounds: of timing.
    """
    keep_freed_memory()
    device = fastest_device()
    yield _steps("batch", device, [(n, n, 1000, 1.0) for n in batches], rounds)
    yield _steps("classes", device, [(n, batch_size, n, 1.0) for n in classes], rounds)
    yield _steps("width", device, [(w, batch_size, 1000, w) for w in widths], rounds)
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as temporary:
        rows = [_store(Path(temporary) / str(count), count, rounds) for count in images]
    yield Measured(f"A store of generated images, {SMALL}×{SMALL} pixels", rows)


def _steps(
    grows: str,
    device: torch.device,
    settings: Sequence[tuple[float, int, int, float]],
    rounds: int,
) -> Measured:
    rows: list[dict[str, Any]] = []
    for value, batch_size, classes, width in settings:
        # One after the other: together they would not fit the memory.
        network = AlexNet(classes, width=width).to(device).to(memory_format=torch.channels_last)
        step = Step(network, PaperSGD(network.parameters()), device, batch_size, classes, bf16=True)
        (timing,) = interleaved([Contender(str(value), step, batch_size)], rounds, WARM_UP)
        parameters = sum(weights.numel() for weights in network.parameters())
        rows.append(
            {grows: value, "million parameters": round(parameters / 1e6, 2), **_row(timing)}
        )
    return Measured(f"A training step as {grows} grows, performance=fast", rows)


def _row(timing: Timing) -> dict[str, Any]:
    row = timing.row()
    del row["name"]
    return row


def _store(directory: Path, count: int, rounds: int) -> dict[str, Any]:
    """Prepare, open and read a set of ``count`` images."""
    image = Image.new("RGB", (SMALL, SMALL))
    labels = (np.arange(count) % 1000).tolist()
    train = Split(Numbered(count), labels, lambda i: image.copy())
    source = Source(
        tuple(map(str, range(1000))),
        {"train": train, "val": Split(["0"], [0], train.open)},
        fingerprint=str(count),
    )
    started = time.perf_counter()
    prepare(source, StoredAs(SMALL), directory)
    prepared = time.perf_counter() - started
    random = np.random.default_rng(0)

    def read() -> None:
        stored = store.splits["train"]
        for index in random.integers(len(stored), size=READS):
            stored.image(index)

    (opening,) = interleaved([Contender("open", lambda: open_store(directory))], rounds)
    store = open_store(directory)
    (reading,) = interleaved([Contender("read", read, READS)], rounds)
    return {
        "images": count,
        f"prepared/s, {usable_cores()} cores": round(count / prepared),
        "milliseconds to open": round(1000 * opening.median, 1),
        "read/s": round(reading.rate),
    }


class Numbered(Sequence[str]):
    """Names that are made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._length = count

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return f"{index}.png"
