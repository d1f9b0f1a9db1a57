"""Fig. 1: training error against epochs, with ReLU and with tanh (§4.1)."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.schema import RESULT, read_record, reason
from alexnet_repro.figures.paper_style import GREY

ACTIVATIONS = {"relu": ("ReLU", "-"), "tanh": ("tanh", (0, (4, 3)))}
"""As in the paper: a solid line for ReLU, a dashed one for tanh."""


@dataclass(frozen=True)
class TrainingError:
    """The training error of one run.

    Attributes:
        run: its folder.
        activation: ``relu`` or ``tanh``.
        errors: top-1, in percent, of epoch 1, 2, …
    """

    run: Path
    activation: str
    errors: tuple[float, ...]

    def epochs_to(self, threshold: float) -> float:
        """Epochs until the error is ``threshold`` percent, on a straight line between epochs.

        Infinite if it never is. An epoch's error is that of all its training images, and counts
        from the epoch's end.
        """
        if self.errors[0] <= threshold:
            return 1.0
        for epoch, (before, error) in enumerate(pairwise(self.errors), 1):
            if error <= threshold:
                return epoch + (before - threshold) / (before - error)
        return math.inf


def ended_runs(folder: Path) -> list[Path]:
    """The folder, if it is that of a run that has ended, or all such folders below it.

    Raises:
        UsageError: if there is none.
    """
    if (folder / RESULT).is_file():
        return [folder]
    if not (found := sorted(path.parent for path in folder.rglob(RESULT))):
        raise UsageError(f"{folder}: no run in it has ended and left a {RESULT}")
    return found


def read_training_error(run: Path) -> TrainingError:
    """The curve of a run from its record.

    Raises:
        UsageError: if it is damaged, or has no curve of a ReLU or tanh network.
    """
    try:
        values = read_record(run / RESULT)
    except (OSError, ValueError) as error:
        raise UsageError(f"{run}: its record is damaged ({reason(error)})") from error
    activation = ((values.get("config") or {}).get("model") or {}).get("activation")
    rows = (row.get("train/top1_error") for row in values.get("curve", ()))
    errors = tuple(error for error in rows if error is not None)
    if activation not in ACTIVATIONS or not errors:
        raise UsageError(f"{run}: its record has no curve of a ReLU or tanh network")
    return TrainingError(run, activation, errors)


def median_epochs(curves: Sequence[TrainingError], activation: str, threshold: float) -> float:
    """Epochs to ``threshold`` percent in the median run of that activation."""
    return statistics.median(c.epochs_to(threshold) for c in curves if c.activation == activation)


def ratio_text(curves: Sequence[TrainingError], threshold: float) -> str:
    """How many times fewer epochs ReLU takes to the threshold, in words."""
    relu, tanh = (median_epochs(curves, activation, threshold) for activation in ACTIVATIONS)
    if math.isinf(relu):
        return f"ReLU did not reach {threshold:g} %"
    if math.isinf(tanh):
        longest = max(len(c.errors) for c in curves if c.activation == "tanh")
        return (
            f"ReLU: {relu:.1f} epochs to {threshold:g} %; tanh: not within {longest}, "
            f"more than {longest / relu:.1f} times as many"
        )
    return (
        f"{threshold:g} %: ReLU {relu:.1f} epochs, tanh {tanh:.1f}: {tanh / relu:.1f} times as many"
    )


def draw_training_error(curves: Sequence[TrainingError], threshold: float) -> Figure:
    """Fig. 1, a line for every run.

    Raises:
        UsageError: if there are not runs of both.
    """
    for activation in ACTIVATIONS:
        if not any(curve.activation == activation for curve in curves):
            raise UsageError(
                f"runs: none of them is of a network with model.activation={activation}"
            )
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = figure.subplots()
    for activation, (label, dashes) in ACTIVATIONS.items():
        runs = [curve for curve in curves if curve.activation == activation]
        for number, curve in enumerate(runs):
            epochs = range(1, len(curve.errors) + 1)
            axes.plot(
                epochs,
                curve.errors,
                color="black",
                ls=dashes,
                lw=1.3 if len(runs) == 1 else 0.9,
                label=label if number == 0 else None,
            )
        reached = median_epochs(curves, activation, threshold)
        if math.isfinite(reached):
            axes.plot([reached], [threshold], "o", ms=4, color="black", clip_on=False)
    axes.axhline(threshold, color=GREY, lw=0.7, zorder=0)
    axes.annotate(
        f"{threshold:g} %",
        (1, threshold),
        xycoords=("axes fraction", "data"),
        xytext=(2, 0),
        textcoords="offset points",
        va="center",
        color=GREY,
        fontsize=9,
    )
    axes.set(xlabel="epochs", ylabel="training error rate (%)", ylim=(0, None), xlim=(0, None))
    axes.set_title(ratio_text(curves, threshold), fontsize=9)
    axes.legend(loc="upper right")
    return figure
