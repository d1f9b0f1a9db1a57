"""Progress of a training: a bar on a terminal, a line now and then elsewhere, and one per epoch."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar

from alexnet_repro.base.console import console, counting
from alexnet_repro.data.datamodule import batches_done
from alexnet_repro.training.curve import curve_of


class TrainingProgress(ProgressBar):
    """Batches done and time left; after an epoch both errors, in percent as top-1/top-5."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = ExitStack()
        self._advance: Callable[[int], None] = lambda batches: None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        total = int(trainer.estimated_stepping_batches) * trainer.accumulate_grad_batches
        # As long as those of this training, whatever size they had before it went on.
        done = trainer.current_epoch * int(trainer.num_training_batches) + batches_done(trainer)
        self._open("train", total, done)

    def on_train_batch_end(self, *arguments: Any) -> None:
        self._advance(1)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        rows = curve_of(trainer).rows
        if trainer.state.fn != "fit" or not rows or not trainer.is_global_zero:
            return
        row = rows[-1]
        errors = " ".join(
            f"{stage} {row[f'{stage}/top1_error']:.1f}/{row[f'{stage}/top5_error']:.1f}"
            for stage in ("train", "val")
        )
        console.print(
            f"epoch {row['epoch']:.0f}/{trainer.max_epochs}  error {errors} %  "
            f"loss {row['train/loss']:.3f}/{row['val/loss']:.3f}  lr {row['lr']:g}  "
            f"{row['images_per_second']:.0f} images/s"
        )

    def on_train_end(self, *arguments: Any) -> None:
        self.disable()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._open("test", int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, *arguments: Any) -> None:
        self._advance(1)

    def on_test_end(self, *arguments: Any) -> None:
        self.disable()

    def on_exception(self, *arguments: Any) -> None:
        self.disable()

    def disable(self) -> None:
        self._bar.close()

    def _open(self, title: str, total: int, done: int = 0) -> None:
        if self.trainer.is_global_zero:
            self._advance = self._bar.enter_context(counting(title, total, "batches", done))
