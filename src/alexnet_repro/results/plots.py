"""Learning curves for the page: a drawing of all runs under equal settings."""

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alexnet_repro.results.claims import Archive
from alexnet_repro.results.records import Record, Values
from alexnet_repro.results.tables import Legend, trained_groups

LINES = [f"#0000c{number}" for number in range(8)]
"""With more experiments colours repeat."""
TEXT, GRID = "#0000f0", "#0000f1"
OF_THE_PAGE = {mark: f"var(--c{number})" for number, mark in enumerate(LINES)} | {
    TEXT: "var(--faint)",
    GRID: "var(--line)",
}
"""What takes the place of the colours above: those of the page, which are others by night."""
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "alexnet_repro",
    **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), TEXT),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), GRID),
}


@dataclass(frozen=True)
class Curves:
    """A drawing: top-1 error in percent over epochs.

    Attributes:
        title: data and settings.
        svg: the drawing.
        lines: of each experiment its name, the number of its colour and of its runs.
    """

    title: str
    svg: str
    lines: Sequence[tuple[str, int, int]]


def drawings(archive: Archive, legend: Legend) -> list[Curves]:
    """One for each group of training runs that has a curve."""
    found = []
    for group, experiments in trained_groups(archive).items():
        runs = {
            name: curves
            for name, by_seed in sorted(experiments.items())
            if (curves := [rows for one in by_seed.values() if len(rows := _rows(one)) > 1])
        }
        if runs:
            lines = [(name, n % len(LINES), len(runs[name])) for n, name in enumerate(runs)]
            found.append(Curves(legend.of(group), _draw(runs.values()), lines))
    return found


def _rows(record: Record) -> list[Values]:
    rows = record.values.get("curve") or []
    return [row for row in rows if row.get("val/top1_error") is not None]


def _draw(runs: Iterable[Sequence[list[Values]]]) -> str:
    """Solid lines of the validation, dashed ones of the training images, as SVG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot(xlabel="epoch", ylabel="top-1 error, %", ylim=(0, 100), xmargin=0)
        axes.grid()
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for curves, colour in zip(runs, cycle(LINES)):
            for rows in curves:
                epochs = [row["epoch"] for row in rows]
                for stage, style, width in (("val", "-", 1.6), ("train", "--", 1)):
                    errors: Any = [row.get(f"{stage}/top1_error") for row in rows]
                    axes.plot(epochs, errors, style, color=colour, lw=width)
        text = io.StringIO()
        without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=without)
    svg = re.sub("#0000[cf].", lambda mark: OF_THE_PAGE[mark[0]], text.getvalue())
    return svg[svg.index("<svg") :]
