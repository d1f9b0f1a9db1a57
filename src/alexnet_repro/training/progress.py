"""Progress of a training: a bar on a terminal, a line per epoch elsewhere."""

import time
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from alexnet_repro.base.console import console
from alexnet_repro.data.datamodule import batches_done
from alexnet_repro.training.curve import curve_of
from alexnet_repro.training.module import images_of


class TrainingProgress(ProgressBar):
    """Images per second, time left and both errors, in percent as top-1/top-5."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._started = 0.0
        self._first_batch_done = 0
        self._images = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._started, self._first_batch_done = time.perf_counter(), _batches_done(trainer)
        self._images = 0
        self._open("train", _batches(trainer), completed=self._first_batch_done)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._images += images_of(trainer, batch)
        if self._bar is not None:
            seconds = time.perf_counter() - self._started
            self._bar.update(
                self._task,
                completed=_batches_done(trainer),
                epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
                speed=f"{self._images / seconds:.0f} images/s",
                left=f"{self._left(trainer)} left",
            )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        rows = curve_of(trainer).rows
        if trainer.state.fn != "fit" or not rows:
            return
        row = rows[-1]
        errors = " ".join(
            f"{stage} {row[f'{stage}/top1_error']:.1f}/{row[f'{stage}/top5_error']:.1f}"
            for stage in ("train", "val")
        )
        if self._bar is not None:
            self._bar.update(self._task, errors=f"{errors} %")
        elif trainer.is_global_zero:
            console.print(
                f"epoch {row['epoch']:.0f}/{trainer.max_epochs}  error {errors} %  "
                f"loss {row['train/loss']:.3f}/{row['val/loss']:.3f}  lr {row['lr']:g}  "
                f"{row['images_per_second']:.0f} images/s  {self._left(trainer)} left"
            )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self._close()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_test_start(trainer, pl_module)
        self._open("test", int(sum(trainer.num_test_batches)))

    def on_test_batch_end(self, *arguments: Any, **keywords: Any) -> None:
        super().on_test_batch_end(*arguments, **keywords)
        if self._bar is not None:
            self._bar.advance(self._task)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_test_end(trainer, pl_module)
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def disable(self) -> None:
        self._close()

    def _open(self, stage: str, total: int, completed: int = 0) -> None:
        if not (console.is_terminal and self.trainer.is_global_zero):
            return
        columns = (
            "{task.fields[epoch]}",
            "{task.fields[speed]}",
            "{task.fields[left]}",
            "{task.fields[errors]}",
        )
        self._bar = Progress(
            TextColumn(stage), BarColumn(8), *map(TextColumn, columns), console=console
        )
        self._task = self._bar.add_task(
            stage, total=total, completed=completed, epoch="", speed="", left="", errors=""
        )
        self._bar.start()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self, trainer: L.Trainer) -> str:
        done, seconds = _batches_done(trainer), time.perf_counter() - self._started
        each = seconds / max(1, done - self._first_batch_done)
        return str(timedelta(seconds=round(each * max(0, _batches(trainer) - done))))


def _batches(trainer: L.Trainer) -> int:
    """Of the whole training."""
    assert trainer.max_epochs is not None
    batches = int(trainer.num_training_batches) * trainer.max_epochs
    steps = trainer.max_steps * trainer.accumulate_grad_batches
    return min(batches, steps) if trainer.max_steps > 0 else batches


def _batches_done(trainer: L.Trainer) -> int:
    """By now, as long as those of this training, whatever size they had before it went on."""
    return trainer.current_epoch * int(trainer.num_training_batches) + batches_done(trainer)
