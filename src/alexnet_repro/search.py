"""A search by Optuna for values with the least validation error: ``sweep=learning_rate``.

Hydra's own plugin neither prunes trials nor goes on with a search where it was interrupted.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import optuna
from hydra.core.override_parser.types import IntervalSweep, Override, Transformer
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from alexnet_repro.base.errors import DivergenceError, PrunedError, UsageError
from alexnet_repro.figures.paper_style import paper_style, save
from alexnet_repro.figures.search import draw_search
from alexnet_repro.training.pruning import open_study

log = logging.getLogger(__name__)

DONE = (TrialState.COMPLETE, TrialState.PRUNED)


class Search:
    """The trials of a study: which are to be launched, and what became of them.

    One that diverged counts as one that was pruned before its first epoch, which the sampler keeps
    away from. Any other failure ends the search: it would happen to all of them.

    Args:
        searched: keys and what the values are drawn from: an interval or a choice.
        storage: see :func:`open_study`.
        study_name: of the study in ``storage``.
        n_trials: that the study is to have in the end, those of before it was started again too.
        startup_trials: the first ones, which are drawn at random.
        seed: that values follow from, whether the search is interrupted or not.
    """

    def __init__(
        self,
        searched: Mapping[str, Override],
        storage: str,
        study_name: str,
        n_trials: int,
        startup_trials: int,
        seed: int,
    ) -> None:
        self.values = {key: _distribution(override) for key, override in searched.items()}
        self.study = open_study(storage, study_name)
        self.n_trials, self.startup_trials, self.seed = n_trials, startup_trials, seed

    def next_trials(self, most: int) -> list[FrozenTrial]:
        """Trials to launch together, with numbers in a row; those that were interrupted first."""
        running = self.study.get_trials(states=(TrialState.RUNNING,))
        while len(running) < min(most, self.n_trials - len(self.study.get_trials(states=DONE))):
            # A sampler of its own for each: its draws do not depend on when the search was started.
            self.study.sampler = optuna.samplers.TPESampler(
                seed=self.seed + len(self.study.trials), n_startup_trials=self.startup_trials
            )
            asked = self.study.ask(self.values)
            running.append(self.study.trials[asked.number])
        return [t for i, t in enumerate(running[:most]) if t.number == running[0].number + i]

    def tell(self, trials: Sequence[FrozenTrial], jobs: Sequence[JobReturn]) -> None:
        """Take down what the jobs of ``trials`` returned, and raise what one of them failed with.

        Raises:
            UsageError: if a job returned no error that could be minimized.
        """
        failed = []
        for trial, job in zip(trials, jobs, strict=True):
            if job.status == JobStatus.COMPLETED and job.return_value is not None:
                self.study.tell(trial.number, job.return_value)
            elif isinstance(job._return_value, DivergenceError | PrunedError):
                self.study.tell(trial.number, state=TrialState.PRUNED)
            else:
                self.study.tell(trial.number, state=TrialState.FAIL)
                failed.append(job)
        for job in failed:
            if job.return_value is None:
                raise UsageError("the jobs return nothing for a search to minimize")

    def record(self, directory: Path) -> None:
        """Write and print the best values, and draw the errors of the trials.

        Raises:
            UsageError: if no trial ran to completion.
        """
        if not self.study.get_trials(states=(TrialState.COMPLETE,)):
            raise UsageError(f"none of {self.n_trials} trials ran to completion")
        best = self.study.best_trial
        found = {"name": "optuna", "best_params": best.params, "best_value": best.value}
        path = directory / "optimization_results.yaml"
        OmegaConf.save(OmegaConf.create(found), path)
        with paper_style():
            save(draw_search(self.study), directory, "search", ["png"], 200)
        values = " ".join(f"{key}={value}" for key, value in best.params.items())
        log.info("%s", path)
        log.info("least validation error %.2f %%: %s (job %s)", best.value, values, best.number)


def _distribution(override: Override) -> BaseDistribution:
    values = override.value()
    if not isinstance(values, IntervalSweep):
        choices = [*override.sweep_iterator()]
        numbers = [c for c in choices if isinstance(c, int | float) and not isinstance(c, bool)]
        # Anything else is kept as the command line has it: null, True.
        return CategoricalDistribution(
            numbers if len(numbers) == len(choices) else [Transformer.str(c) for c in choices]
        )
    low, high = cast(tuple[float, float], (values.start, values.end))
    if {type(low), type(high)} == {int}:  # int(interval(LOW, HIGH))
        return IntDistribution(int(low), int(high), log="log" in values.tags)
    return FloatDistribution(low, high, log="log" in values.tags)
