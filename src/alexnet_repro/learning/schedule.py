"""When the learning rate falls and when training ends (§6), as Lightning callbacks."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from alexnet_repro.data.datamodule import batches_done

log = logging.getLogger(__name__)


class PlateauSchedule(Callback):
    """The paper's heuristic (§6): divide ε by 10 when the validation error stops improving.

    After ``divisions`` divisions, the next time the error stops improving ends the training ("the
    learning rate was … reduced three times prior to termination").

    Args:
        epochs: the most epochs that training takes (read by the Trainer).
        patience: epochs without improvement after which the error has "stopped improving".
        threshold: what counts as improvement, in percentage points of top-1 error.
        factor: ε is multiplied by it.
        divisions: how often ε is divided before training ends.
        monitor: the logged metric, lower is better.
    """

    def __init__(
        self,
        epochs: int,
        patience: int,
        threshold: float,
        factor: float,
        divisions: int,
        monitor: str,
    ) -> None:
        self.epochs, self.patience, self.threshold = epochs, patience, threshold
        self.factor, self.divisions, self.monitor = factor, divisions, monitor
        self.best = float("inf")
        self.epochs_without_improvement = 0
        self.divided = 0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_last_batch:  # trainer.max_steps cut it short: nothing was validated
            return
        error = float(trainer.callback_metrics[self.monitor])
        if error < self.best - self.threshold:
            self.best, self.epochs_without_improvement = error, 0
            return
        self.epochs_without_improvement += 1
        if self.epochs_without_improvement < self.patience:
            return
        self.epochs_without_improvement = 0
        if self.divided == self.divisions:
            log.info("%s stopped improving at %.2f: training ends", self.monitor, self.best)
            trainer.should_stop = True
            return
        self.divided += 1
        for group in trainer.optimizers[0].param_groups:
            if group.get("scheduled", True):
                group["lr"] *= self.factor
        log.info(
            "%s stopped improving at %.2f: learning rate × %g (%d of %d)",
            self.monitor,
            self.best,
            self.factor,
            self.divided,
            self.divisions,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "epochs_without_improvement": self.epochs_without_improvement,
            "divided": self.divided,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
        self.epochs_without_improvement = state_dict["epochs_without_improvement"]
        self.divided = state_dict["divided"]


class EpochSchedule(Callback):
    """Changes at given epochs, as in the training notes of the 2012 program.

    Every change is a mapping with ``epoch`` (after that many epochs) and any of

    - ``weights``: learning rates of weights by layer; ``others`` names all layers not named here.
      Biases without a learning rate of their own have it too,
    - ``biases``: the same for biases,
    - ``colour_noise``: false switches the noise of §5.1 off.

    The changes are those of a run of ``notes_epochs``; a run of ``epochs`` epochs makes each of
    them at the same fraction of the whole. The state is a function of the position in training
    alone, so a resumed run needs nothing but its position.

    Args:
        epochs: epochs that training takes (read by the Trainer).
        notes_epochs: epochs of the run that the changes were written for.
        changes: as above, in order of their epochs.
    """

    def __init__(
        self, epochs: int, notes_epochs: float, changes: Sequence[Mapping[str, Any]]
    ) -> None:
        self.epochs = epochs
        self.changes = [
            {**change, "epoch": change["epoch"] * epochs / notes_epochs} for change in changes
        ]
        self._applied = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._applied = 0
        # An epoch within which a run resumes does not start once more. What changes with its next
        # batch changes there, as it would have without the interruption.
        if done := batches_done(trainer):
            self._apply_until(trainer, done - 1)

    # A batch is augmented before its on_train_batch_start: what changes between epochs, the noise
    # above all, must be in force before the first one.
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._apply_until(trainer, 0)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._apply_until(trainer, batch_idx)

    def _apply_until(self, trainer: L.Trainer, batch_idx: int) -> None:
        position = trainer.current_epoch + batch_idx / max(1, int(trainer.num_training_batches))
        while (
            self._applied < len(self.changes) and self.changes[self._applied]["epoch"] <= position
        ):
            self._apply(self.changes[self._applied], trainer)
            self._applied += 1

    def _apply(self, change: Mapping[str, Any], trainer: L.Trainer) -> None:
        for kind in ("weights", "biases"):
            rates = change.get(kind) or {}
            for group in trainer.optimizers[0].param_groups:
                layer, _, parameter = group["name"].rpartition(".")
                follows = parameter == "weight" or group.get("scheduled", True)
                if follows if kind == "weights" else parameter == "bias":
                    rate = rates.get(layer, rates.get("others"))
                    group["lr"] = group["lr"] if rate is None else rate
        if "colour_noise" in change:
            trainer.datamodule.augmentation.colour_noise = change["colour_noise"]  # type: ignore[attr-defined]
        log.info(
            "epoch %.2f: %s", change["epoch"], {k: v for k, v in change.items() if k != "epoch"}
        )
