"""The learning curve: one row per epoch, kept in the checkpoint and written beside the run."""

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from alexnet_repro.base.record import write_csv
from alexnet_repro.training.module import images_of

COLUMNS = (
    "epoch",
    "step",
    "seconds",
    "images_per_second",
    "lr",
    *(f"{stage}/{q}" for stage in ("train", "val") for q in ("loss", "top1_error", "top5_error")),
)
"""``seconds`` is training time so far, without validation; errors are percent, those of training
measured on the augmented images with dropout as they were trained on; ``lr`` is the largest of any
layer's weights."""


class Curve(Callback):
    """Collects the rows and writes ``curve.csv`` after every epoch.

    The rows are part of the checkpoint, and so are the time and images of an epoch that is not
    complete: a resumed run goes on with them.

    Args:
        directory: of the run.

    Attributes:
        rate: the learning rate of the last step, the largest of any layer's weights.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.path = directory / "curve.csv"
        self.rows: list[dict[str, float]] = []
        self._started = 0.0
        self._images = 0
        self._elapsed = 0.0
        self.rate = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter() - self._elapsed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started, self._images = time.perf_counter(), 0

    def on_train_batch_start(self, trainer: L.Trainer, *arguments: Any) -> None:
        # At the end of the epoch a schedule of torch has set that of the next one.
        self.rate = max(
            float(group["lr"])
            for group in trainer.optimizers[0].param_groups
            if group.get("name", "weight").endswith("weight")
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._images += images_of(trainer, batch)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._elapsed = time.perf_counter() - self._started

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        metrics = trainer.callback_metrics
        before = self.rows[-1]["seconds"] if self.rows else 0.0
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": round(before + self._elapsed, 2),
            "images_per_second": round(self._images / self._elapsed, 1),
            "lr": self.rate,
        }
        self.rows.append(row | {c: float(metrics[c]) for c in COLUMNS if c in metrics})
        self._elapsed, self._images = 0.0, 0
        if trainer.is_global_zero:
            write_csv(self.path, COLUMNS, self.rows)

    def state_dict(self) -> dict[str, Any]:
        elapsed = time.perf_counter() - self._started if self._images else 0.0
        return {"rows": self.rows, "elapsed": elapsed, "images": self._images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]
        self._elapsed = state_dict.get("elapsed", 0.0)
        self._images = state_dict.get("images", 0)


def curve_of(trainer: L.Trainer) -> Curve:
    """The curve of a run, which all of them have."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, Curve))  # type: ignore[attr-defined]
