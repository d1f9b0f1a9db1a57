"""Learning curves for the page: a drawing of all runs under equal settings."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alexnet_repro.results.claims import Archive
from alexnet_repro.results.records import Record, Values
from alexnet_repro.results.tables import Legend, trained_groups

COLOURS = 8
"""Colours that the page has for lines; with more experiments they repeat."""
MARKS = {f"#0000c{n}": f"var(--c{n})" for n in range(COLOURS)} | {
    "#0000f0": "var(--faint)",
    "#0000f1": "var(--line)",
}
"""Colours of the drawing that stand for those of the page, which are others by night."""
LINE, TEXT, GRID = list(MARKS)[:COLOURS], *list(MARKS)[COLOURS:]

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "alexnet_repro",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.labelcolor": TEXT,
    "grid.color": GRID,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
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
            name: [record for record in by_seed.values() if len(_rows(record)) > 1]
            for name, by_seed in sorted(experiments.items())
        }
        runs = {name: records for name, records in runs.items() if records}
        if runs:
            lines = [(name, n % COLOURS, len(runs[name])) for n, name in enumerate(runs)]
            found.append(Curves(legend.of(group), _draw(runs), lines))
    return found


def _rows(record: Record) -> list[Values]:
    rows = record.values.get("curve") or []
    return [row for row in rows if row.get("val/top1_error") is not None]


def _draw(runs: Mapping[str, Sequence[Record]]) -> str:
    """Solid lines of the validation, dashed ones of the training images, as SVG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot(xlabel="epoch", ylabel="top-1 error, %", ylim=(0, 100), xmargin=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for number, records in enumerate(runs.values()):
            colour = LINE[number % COLOURS]
            for rows in map(_rows, records):
                epochs = [row["epoch"] for row in rows]
                for stage, style, width in (("val", "-", 1.6), ("train", "--", 1)):
                    errors: Any = [row.get(f"{stage}/top1_error") for row in rows]
                    axes.plot(epochs, errors, style, color=colour, lw=width)
        text = io.StringIO()
        without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=without)
    svg = text.getvalue()
    for mark, colour in MARKS.items():
        svg = svg.replace(mark, colour)
    return svg[svg.index("<svg") :]
