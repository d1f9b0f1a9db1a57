"""When the learning rate falls and when training ends (§6), as Lightning callbacks."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import lightning as L
from lightning.pytorch.callbacks import Callback
from pydantic import Field

from alexnet_repro.base.build import (
    ArgumentsOf,
    Count,
    Natural,
    NonNegative,
    Positive,
    checks_arguments,
)
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.datamodule import batches_done

log = logging.getLogger(__name__)

Factor = Annotated[float, Field(gt=0, lt=1)]
Rates = Mapping[str, NonNegative]


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

    @checks_arguments
    def __init__(
        self,
        epochs: Count = 90,
        patience: Count = 5,
        threshold: NonNegative = 0.1,
        factor: Factor = 0.1,
        divisions: Natural = 3,
        monitor: Literal["val/top1_error", "val/top5_error", "val/loss"] = "val/top1_error",
    ) -> None:
        self.epochs, self.patience, self.threshold = epochs, patience, threshold
        self.factor, self.divisions, self.monitor = factor, divisions, monitor
        self.best = float("inf")
        self.epochs_without_improvement = 0
        self.divided = 0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_last_batch:  # trainer.max_steps cut it short: nothing was validated
            return
        if self.monitor not in trainer.callback_metrics:
            raise UsageError(
                f"schedule.monitor={self.monitor}: there was no validation; this schedule looks at "
                "one after every epoch, schedule=constant, cosine and step need none"
            )
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


@dataclass(frozen=True)
class Change:
    """What changes after ``epoch`` epochs.

    Attributes:
        weights: learning rates of weights by layer; ``others`` names all layers not named here.
            Biases without a learning rate of their own have it too.
        biases: the same for biases.
        colour_noise: false switches the noise of §5.1 off.
    """

    epoch: NonNegative
    weights: Rates = field(default_factory=dict)
    biases: Rates = field(default_factory=dict)
    colour_noise: bool | None = None


Changes = Annotated[Mapping[str, Any], ArgumentsOf(Change)]


class EpochSchedule(Callback):
    """Changes at given epochs, as in the training notes of the 2012 program.

    The changes are those of a run of ``notes_epochs``; a run of ``epochs`` epochs makes each of
    them at the same fraction of the whole. The state is a function of the position in training
    alone, so a resumed run needs nothing but its position.

    Args:
        epochs: epochs that training takes (read by the Trainer).
        notes_epochs: epochs of the run that the changes were written for.
        changes: each with the arguments of :class:`Change`, in order of their epochs.
    """

    @checks_arguments
    def __init__(
        self, epochs: Count, notes_epochs: Positive, changes: Sequence[Changes] = ()
    ) -> None:
        self.epochs = epochs
        self.changes = [
            Change(**{**change, "epoch": change["epoch"] * epochs / notes_epochs})
            for change in changes
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
        while self._applied < len(self.changes) and self.changes[self._applied].epoch <= position:
            self._apply(self.changes[self._applied], trainer)
            self._applied += 1

    def _apply(self, change: Change, trainer: L.Trainer) -> None:
        for kind, rates in (("weights", change.weights), ("biases", change.biases)):
            for group in trainer.optimizers[0].param_groups:
                layer, _, parameter = group.get("name", "others.weight").rpartition(".")
                follows = parameter == "weight" or group.get("scheduled", True)
                if follows if kind == "weights" else parameter == "bias":
                    rate = rates.get(layer, rates.get("others"))
                    group["lr"] = group["lr"] if rate is None else rate
        made: dict[str, Any] = {"weights": change.weights, "biases": change.biases}
        if change.colour_noise is not None:
            data: Any = getattr(trainer, "datamodule", None)
            if not hasattr(data, "augmentation"):
                raise UsageError(
                    "schedule.changes: colour_noise is of the augmentation of an ImageDataModule; "
                    "leave it out with other data"
                )
            data.augmentation.colour_noise = change.colour_noise
            made["colour_noise"] = change.colour_noise
        log.info("epoch %.2f: %s", change.epoch, {k: v for k, v in made.items() if v != {}})
