"""The drawings of the page, as SVG in its colours: the claims as a forest plot, learning curves."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alexnet_repro.results.claims import (
    CONFIRMED,
    DIFFERS,
    NO_VERDICT,
    OPPOSITE,
    UNRESOLVED,
    Finding,
)
from alexnet_repro.results.intervals import Mean, mean
from alexnet_repro.results.measures import by_seed
from alexnet_repro.results.records import Record, RecordsBySeed, Values
from alexnet_repro.results.tables import number, step_of, with_interval

LINE, FIRST = "#0000c0", "#0000c1"
"""Of an experiment, and of the first one beside it."""
MARKS = {CONFIRMED: "o", UNRESOLVED: "o", OPPOSITE: "s", DIFFERS: "s"}
COLOURS = {what: f"#0000e{number}" for number, what in enumerate(MARKS)}
FAINT, GRID, TEXT, PAGE = "#0000f0", "#0000f1", "#0000f2", "#0000f3"
OF_THE_PAGE = {
    **{mark: f"var(--{what.replace(' ', '-')})" for what, mark in COLOURS.items()},
    **{LINE: "var(--curve)", FIRST: "var(--first)", FAINT: "var(--faint)"},
    **{GRID: "var(--line)", TEXT: "var(--text)", PAGE: "var(--page)"},
}
"""What takes the place of the colours above: those of the page, which are others by night."""
STYLE: Any = {
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "text.color": TEXT,
    **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), FAINT),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), GRID),
}


@dataclass(frozen=True)
class Row:
    """Of the forest plot: a difference in points of error, and the paper's."""

    label: str
    paper: float | None
    mean: Mean
    what: str

    @property
    def text(self) -> str:
        paper = "" if self.paper is None else f"paper {number(self.paper, 1, sign=True)}, "
        return f"{self.label}: {paper}here {with_interval(self.mean)}, {self.what}"


def forest_rows(findings: Sequence[Finding]) -> list[Row]:
    """The effects in points of error; and errors, as they differ from those of the paper's data.

    Of networks that cannot be compared nothing is drawn.
    """
    rows = []
    for finding in findings:
        pairs = zip(finding.measured, finding.verdicts, strict=True)
        drawn = [(m, v) for m, v in pairs if m.figure.in_points and v.what != NO_VERDICT]
        for measured, verdict in drawn:
            figure, mean, paper = measured.figure, measured.mean, measured.figure.paper
            if figure.expected is None:
                mean, paper = mean - (paper or 0), 0
            name = f", {figure.name}" if len(drawn) > 1 else ""
            rows.append(Row(finding.claim.title + name, paper, mean, verdict.what))
    return rows


def forest_plot(rows: Sequence[Row], narrow: bool) -> str:
    """Rows on one axis; labels stand beside it, or, for a phone, above each row."""
    reach = max(3, *(1.3 * abs(x) for row in rows for x in (row.mean.value, row.paper or 0)))
    height = (0.56 if narrow else 0.32) * len(rows) + 0.6
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.8 if narrow else 10, height))
        left, width = (0.02, 0.96) if narrow else (0.3, 0.42)
        axes = figure.add_axes((left, 0.5 / height, width, 1 - 0.55 / height))
        axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6), yticks=())
        axes.set_xlabel("difference, points of error")
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=FAINT, lw=1)
        for place, row in enumerate(rows):
            _draw_row(axes, row, place + (0.2 if narrow else 0), reach)
            _label_row(axes, row, place, narrow)
        return _svg(figure, f"forest {narrow}")


def _draw_row(axes: Axes, row: Row, y: float, reach: float) -> None:
    colour, value = COLOURS[row.what], row.mean.value
    ends = row.mean.interval or (value, value)
    low, high = (min(max(end, -reach), reach) for end in ends)
    axes.plot([low, high], [y, y], color=colour, lw=1.8)
    for end, edge, arrow in ((ends[0], -reach, "<"), (ends[1], reach, ">")):
        if abs(end) > reach and end * edge > 0:
            axes.plot(edge, y, arrow, ms=6, color=colour, clip_on=False)
    face = PAGE if row.what == UNRESOLVED else colour
    axes.plot(value, y, MARKS[row.what], ms=7, mew=1.6, mec=colour, mfc=face)
    if row.paper is not None:
        axes.plot(row.paper, y, "|", ms=14, mew=2.4, color=TEXT)


def _label_row(axes: Axes, row: Row, place: int, narrow: bool) -> None:
    transform, here = axes.get_yaxis_transform(), with_interval(row.mean)
    if narrow:
        line: Any = {"transform": transform, "va": "center", "fontsize": 8}
        axes.text(0, place - 0.22, row.label, **line)
        axes.text(1, place - 0.22, here, ha="right", **line)
    else:
        axes.text(-0.04, place, row.label, transform=transform, ha="right", va="center")
        axes.text(1.04, place, f"{here}  {row.what}", transform=transform, va="center")


def learning_curves(experiments: Mapping[str, RecordsBySeed], title: str) -> str | None:
    """Top-1 errors in percent over epochs, each experiment in a plot of its own beside the first.

    None if no run has a curve.
    """
    runs = {
        name: curves
        for name, runs_of in experiments.items()
        if (curves := [rows for one in runs_of.values() if len(rows := _rows(one)) > 1])
    }
    if not runs:
        return None
    first, *others = runs
    shown = others or [first]
    across = min(3, len(shown))
    down = math.ceil(len(shown) / across)
    with mpl.rc_context(STYLE | {"font.size": 7}):
        figure = Figure(figsize=(6.4, 3.6 * down / across + 0.4), layout="constrained")
        plots: Any = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        figure.supxlabel(f"epoch (grey: {first})" if others else "epoch", color=FAINT)
        figure.supylabel("top-1 error, %", color=FAINT)
        for axes, name in zip(plots.flat, shown, strict=False):
            axes.set(ylim=(0, 100), xmargin=0, title=name.removeprefix("ablation_"))
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            _draw_runs(axes, runs[first], FIRST)
            if others:
                _draw_runs(axes, runs[name], LINE)
        for axes in plots.flat[len(shown) :]:
            axes.set_axis_off()
        return _svg(figure, title)


def _rows(record: Record) -> list[Values]:
    rows = record.values.get("curve") or []
    return [row for row in rows if row.get("val/top1_error") is not None]


def _draw_runs(axes: Axes, runs: Sequence[list[Values]], colour: str) -> None:
    """Solid lines of the validation, dashed ones of the training images."""
    for rows in runs:
        epochs = [row["epoch"] for row in rows]
        for stage, style, width in (("val", "-", 1.6), ("train", "--", 1)):
            errors: Any = [row.get(f"{stage}/top1_error") for row in rows]
            axes.plot(epochs, errors, style, color=colour, lw=width)


def staircase(steps: Mapping[str, RecordsBySeed]) -> str:
    """Top-1 errors from the first step of the ladder down to the last, means with intervals."""
    errors = [mean(list(by_seed(runs, "ten_crop_top1").values())) for runs in steps.values()]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.36 * len(steps) + 0.7), layout="constrained")
        axes = figure.add_subplot(xlabel="top-1 error, %, ten crops", ymargin=0.08)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        places = range(len(steps))
        axes.set_yticks(places, map(step_of, steps))
        axes.step([one.value for one in errors], places, color=LINE, where="pre")
        for place, one in zip(places, errors, strict=True):
            axes.plot(one.interval or (one.value,) * 2, (place, place), color=FAINT, lw=1.8)
            axes.plot(one.value, place, "o", color=LINE)
            axes.annotate(number(one.value), (one.value, place), (8, 5), textcoords="offset points")
        return _svg(figure, "staircase")


def _svg(figure: Figure, name: str) -> str:
    """Inline, with the colours of the page; ids are of this drawing only."""
    text = io.StringIO()
    without = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata=without)
    svg = re.sub("#0000[cef].", lambda mark: OF_THE_PAGE[mark[0]], text.getvalue())
    return svg[svg.index("<svg") :]
