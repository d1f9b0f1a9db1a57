"""A trial of a search is pruned: it ends early when other trials did better up to there."""

from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import Callback

from alexnet_repro.base.errors import PrunedError


class Pruning(Callback):
    """Reports the validation error of every epoch, and ends a trial that is behind the median.

    Args:
        storage: see :func:`open_study`.
        study_name: of the search in ``storage``.
        trial: its number.
        startup_trials: that have to be trained to their end before another is pruned.
        warmup_epochs: after which a trial is pruned at the earliest.
    """

    def __init__(
        self, storage: str, study_name: str, trial: int, startup_trials: int, warmup_epochs: int
    ) -> None:
        from optuna.pruners import MedianPruner
        from optuna.trial import Trial

        study = open_study(storage, study_name)
        study.pruner = MedianPruner(startup_trials, warmup_epochs)
        self.trial = Trial(study, study.trials[trial]._trial_id)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        epoch, error = trainer.current_epoch + 1, float(trainer.callback_metrics["val/top1_error"])
        self.trial.report(error, epoch)
        if self.trial.should_prune():
            raise PrunedError(
                f"pruned after epoch {epoch} with a validation error of {error:.1f} %"
            )


def pruning() -> list[Callback]:
    """The callback for a trial of ``hydra/sweeper=search``; none for another run."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN or "startup_trials" not in hydra.sweeper:
        return []
    keys = ("storage", "study_name", "startup_trials", "warmup_epochs")
    return [Pruning(trial=hydra.job.num, **{key: hydra.sweeper[key] for key in keys})]


def open_study(storage: str, name: str) -> Any:
    """The study of that name, which is begun if it is not there.

    Args:
        storage: a file, which processes of several machines may share, or the URL of a database.
    """
    import optuna
    from optuna.storages import BaseStorage, JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place: str | BaseStorage = storage
    if "://" not in storage:
        place = JournalStorage(JournalFileBackend(storage))
    return optuna.create_study(storage=place, study_name=name, load_if_exists=True)
