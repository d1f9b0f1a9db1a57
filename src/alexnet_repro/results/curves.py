"""Learning curves as drawings for the page: one for all runs under equal settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet_repro.results.claims import Archive
from alexnet_repro.results.records import Record
from alexnet_repro.results.tables import Legend, trained_groups

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 48
COLOURS = 8
"""Colours that the page has for lines; with more experiments they repeat."""

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curves:
    """A drawing: error in percent over epochs.

    Attributes:
        title: data and settings.
        lines: by experiment, its number for the colour and the points of each of its runs, in
            pixels: (validation, training).
        x_ticks, y_ticks: position in pixels and label.
    """

    title: str
    lines: Mapping[str, tuple[int, Sequence[tuple[str, str]]]]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def drawings(archive: Archive, legend: Legend) -> list[Curves]:
    """One for each group of training runs that has a curve."""
    found = []
    for group, experiments in trained_groups(archive).items():
        runs = {
            name: [record for record in by_seed.values() if len(_rows(record)) > 1]
            for name, by_seed in experiments.items()
        }
        runs = {name: records for name, records in sorted(runs.items()) if records}
        if runs:
            found.append(_draw(legend.of(group), runs))
    return found


def _rows(record: Record) -> list[Mapping[str, Any]]:
    rows = record.values.get("curve") or []
    return [row for row in rows if row.get("val/top1_error") is not None]


def _draw(title: str, runs: Mapping[str, Sequence[Record]]) -> Curves:
    rows = [row for records in runs.values() for record in records for row in _rows(record)]
    last = max(row["epoch"] for row in rows)
    lines = {}
    for number, (name, records) in enumerate(runs.items()):
        drawn = [
            tuple(
                _points([(r["epoch"], r[c]) for r in _rows(record) if r.get(c) is not None], last)
                for c in ("val/top1_error", "train/top1_error")
            )
            for record in records
        ]
        lines[name] = number % COLOURS, [(one, other) for one, other in drawn]
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if last / s <= 8)
    epochs = range(0, int(last) + 1, step)
    return Curves(
        title,
        lines,
        [(_x(epoch, last), str(epoch)) for epoch in epochs],
        [(_y(error), str(error)) for error in range(0, 101, 20)],
    )


def _points(line: Line, last: float) -> str:
    return " ".join(f"{_x(epoch, last):.1f},{_y(error):.1f}" for epoch, error in line)


def _x(epoch: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * epoch / last


def _y(error: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - error / 100)
