"""What a run keeps in its folder while it trains: checkpoints, and how to go on from them."""

import logging
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from alexnet_repro.errors import PrunedError
from alexnet_repro.learning.checkpoint import FORMAT
from alexnet_repro.learning.checkpoint_file import LAST

log = logging.getLogger(__name__)


class RunFolder(Callback):
    """Keeps the configuration in every checkpoint and says how to go on after an interruption.

    Between the ends of epochs, which `checkpoints` looks after, it saves ``last.ckpt`` every
    ``checkpoint_every_n_steps`` steps, and where ``trainer.max_steps`` ends the training.
    """

    def __init__(self, directory: Path, values: dict[str, Any]) -> None:
        self.directory, self.values = directory, values
        self.every_n_steps: int | None = values["checkpoint_every_n_steps"]

    @property
    def last(self) -> Path:
        return self.directory / "checkpoints" / LAST

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        # The end of an epoch is saved after its validation.
        n, step = self.every_n_steps, trainer.global_step
        due = bool(n) and step % n == 0  # type: ignore[operator]
        if (due or step == trainer.max_steps) and not trainer.is_last_batch:
            self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Write ``last.ckpt`` as the run is now, between two steps."""
        trainer.save_checkpoint(self.last)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["config"] = self.values
        checkpoint["format"] = FORMAT

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, PrunedError):
            return
        if self.last.exists():
            log.info(
                "interrupted; the same command goes on after its last checkpoint with resume=%s",
                self.last,
            )
        else:
            log.info("interrupted before the first checkpoint")


class WholeEpochs(ModelCheckpoint):
    """Saves at the end of an epoch, unless ``trainer.max_steps`` cut the epoch short.

    Lightning goes through the end of such an epoch as if it were whole; saved there, a resumed run
    would pass over the rest of it.
    """

    @property
    def state_key(self) -> str:
        # In checkpoints it goes by the name that it always had.
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)


def checkpoints(directory: Path) -> list[Callback]:
    """Keep ``best.ckpt`` by validation error, and ``last.ckpt`` of every epoch, better or not."""
    return [
        WholeEpochs(
            directory,
            filename=name,
            monitor=monitor,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        for name, monitor in (("best", "val/top1_error"), (LAST.removesuffix(".ckpt"), None))
    ]
