"""What a search tried: the least validation error of every trial, by each value."""

import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from optuna.trial import FrozenTrial, TrialState

from alexnet_repro.figures.paper_style import BLUE, GREY, RED

KINDS = {"trained to the end": ("o", BLUE), "pruned": ("x", GREY), "best": ("*", RED)}
"""Marks; of a trial that was pruned, the error is that of its last epoch."""


def draw_search(study: optuna.Study) -> Figure:
    """A part for the order of the trials and one for each value, with the error upwards.

    A trial that diverged has no error, and no mark.
    """
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    trials = {
        "trained to the end": study.get_trials(states=(TrialState.COMPLETE,)),
        "pruned": [trial for trial in pruned if trial.intermediate_values],
        "best": [study.best_trial],
    }
    keys = list(study.best_trial.params)
    figure = Figure(figsize=(3.2 * (1 + len(keys)), 3), layout="constrained")
    parts = figure.subplots(1, 1 + len(keys), sharey=True, squeeze=False)[0]
    for axes, key in zip(parts, (None, *keys), strict=True):
        for kind, (mark, colour) in KINDS.items():
            drawn = [trial for trial in trials[kind] if key is None or key in trial.params]
            places = [trial.number if key is None else trial.params[key] for trial in drawn]
            axes.plot(places, [_error(t) for t in drawn], mark, color=colour, ms=8, label=kind)
        axes.set_xlabel(key or "trial")
        if getattr(study.best_trial.distributions.get(key or ""), "log", False):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
    parts[0].set_ylabel("validation error (%)")
    parts[0].legend()
    return figure


def _error(trial: FrozenTrial) -> float | None:
    if trial.state == TrialState.COMPLETE:
        return trial.value
    return trial.intermediate_values[max(trial.intermediate_values)]
