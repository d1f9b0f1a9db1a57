"""What a run keeps in its folder while it trains: checkpoints, and how to go on from them."""

import logging
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from alexnet_repro.base.build import Count
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.errors import PrunedError
from alexnet_repro.learning.checkpoint import DATA, FORMAT
from alexnet_repro.learning.checkpoint_file import last_checkpoint

log = logging.getLogger(__name__)


class RunFolder(Checkpoint):
    """Keeps the configuration in every checkpoint and says how to go on after an interruption.

    As a ``Checkpoint`` it comes after all other callbacks, whose state is then that after the step.

    Between the ends of epochs, which :class:`WholeEpochs` looks after, it saves ``last.ckpt`` every
    ``every_n_steps`` steps, and where ``trainer.max_steps`` ends the training.

    Args:
        directory: of the run.
        config: its configuration, with all defaults.
        every_n_steps: None: only at the end of each epoch.
    """

    def __init__(
        self, directory: Path, config: dict[str, Any], every_n_steps: Count | None = None
    ) -> None:
        self.last, self.config = last_checkpoint(directory), config
        self.every_n_steps = every_n_steps
        self._saved = 0

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        # The end of an epoch is saved after its validation.
        n, step = self.every_n_steps, trainer.global_step
        due = n is not None and step % n == 0
        # A step on several batches is one.
        if (due or step == trainer.max_steps) and step != self._saved and not trainer.is_last_batch:
            self._saved = step
            trainer.save_checkpoint(self.last)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["config"] = self.config
        checkpoint["format"] = FORMAT
        # They may be objects of any kind, and a checkpoint is read for plain values only.
        checkpoint.pop(L.LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY, None)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, ImageDataModule):
            # Lightning calls it by its class, which may be one that inherits from ours.
            checkpoint[DATA] = checkpoint.pop(type(data).__qualname__)

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

    Args:
        dirpath: folder of the checkpoints.
        filename: without its extension.
        monitor: the metric of which the least is kept; None for the newest.
    """

    def __init__(self, dirpath: Path, filename: str, monitor: str | None = None) -> None:
        super().__init__(
            dirpath,
            filename=filename,
            monitor=monitor,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        # In checkpoints it goes by the name that it always had.
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)
