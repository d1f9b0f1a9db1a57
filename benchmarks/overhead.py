"""What a training step takes beside the network: microseconds by part, around one of no cost."""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.utils.data import DataLoader

from alexnet_repro.training.curve import Curve
from alexnet_repro.training.module import ImageClassifier
from alexnet_repro.training.nonfinite import NonFinite
from alexnet_repro.training.progress import TrainingProgress
from alexnet_repro.training.sgd import paper_sgd
from measuring import Measured, in_turn, positive, run

Batches = list[tuple[Tensor, Tensor]]
CLASSES, IMAGES = 10, 4
PLAIN = "plain loop"


def overhead(steps: int, rounds: int) -> Iterator[Measured]:
    """The seconds of a step on a few tiny images, with one part more from row to row."""
    batches = random_batches(steps)
    with TemporaryDirectory(prefix="alexnet-benchmark-") as directory:
        parts: dict[str, Callable[[], float]] = {
            PLAIN: lambda: plain_loop(batches),
            "Trainer, module of three lines": lambda: fitted(Bare(network()), batches),
            "Trainer, ImageClassifier": lambda: fitted(classifier(), batches),
            "… and the callbacks of a run": lambda: fitted(
                classifier(), batches, *watching(Path(directory))
            ),
        }
        timings = in_turn(parts, rounds, items=1)
    plain, *_, whole = (1e6 * timing.median for timing in timings)
    rows, before = [], 0.0
    for timing in timings:
        microseconds = 1e6 * timing.median
        rows.append(
            {
                "part": timing.name,
                "µs": round(microseconds),
                "µs more": round(microseconds - before),
            }
        )
        before = microseconds
    yield Measured(
        f"A step of a network of no cost, {torch.get_num_threads()} threads",
        rows,
        {"microseconds beyond the plain loop": round(whole - plain)},
    )


def random_batches(number: int) -> Batches:
    return [(torch.randn(IMAGES, 3, 4, 4), torch.arange(IMAGES)) for _ in range(number)]


def watching(directory: Path) -> list[Callback]:
    """The callbacks of a run that do something at every step."""
    return [NonFinite(directory), Curve(directory), TrainingProgress()]


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES))


def classifier() -> ImageClassifier:
    return ImageClassifier(network(), CLASSES, paper_sgd)


class Bare(L.LightningModule):
    """As a user of Lightning writes it first."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, label = batch
        return cross_entropy(self.network(images), label)

    def configure_optimizers(self) -> SGD:
        return SGD(self.network.parameters(), lr=1e-6, momentum=0.9)


def plain_loop(batches: Batches) -> float:
    """Seconds of a step."""
    module = Bare(network())
    optimizer = module.configure_optimizers()
    started = time.perf_counter()
    for number, batch in enumerate(batches):
        module.training_step(batch, number).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return (time.perf_counter() - started) / len(batches)


class Clock(Callback):
    """Seconds of the steps of an epoch."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds -= time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds += time.perf_counter()


def fitted(module: L.LightningModule, batches: Batches, *callbacks: Callback) -> float:
    """Seconds of a step."""
    clock = Clock()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=any(isinstance(c, TrainingProgress) for c in callbacks),
        callbacks=[*callbacks, clock],
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return clock.seconds / len(batches)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=positive, default=500, help="of each part in a round")
    run(parser, overhead)
