"""Precision against what is kept of an image, and against speed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_repro.seeing.comparison import CODES, WHOLE, groups
from alexnet_repro.seeing.paper_style import BLUE, GREY, RED

MARKS = dict(zip(CODES, ((RED, "o"), ("#7a7a7a", "v"), (BLUE, "s"), ("#3f8f5f", "D")), strict=True))
DASHES = dict(zip(WHOLE, ("-", (0, (5, 2)), (0, (1, 1.5))), strict=True))


def draw_comparison(record: Mapping[str, Any]) -> Figure:
    """Left: precision by bits an image. Right: precision by queries/s, the marks as on the left."""
    k = sorted(record["settings"]["k"])[len(record["settings"]["k"]) // 2]
    figure = Figure(figsize=(7.6, 3.5), layout="constrained")
    by_bits, by_speed = figure.subplots(1, 2, sharey=True)
    measure = f"precision_at_{k}"
    _by_bits(by_bits, record, measure)
    _by_speed(by_speed, record, measure)
    by_bits.set_ylabel(f"precision among the {k} nearest (%)")
    figure.legend(*by_bits.get_legend_handles_labels(), loc="outside right center")
    return figure


def _by_bits(axes: Axes, record: Mapping[str, Any], measure: str) -> None:
    whole = {way["name"]: way for way in record["ways"] if way["name"] in WHOLE}
    for name, way in whole.items():
        said = f"{name}, {way['bits']:,} bits"
        axes.axhline(way[measure], color="black", ls=DASHES[name], lw=0.9, label=said)
    axes.axhline(record["chance"], color=GREY, lw=0.7, ls=(0, (1, 3)), label="chance")
    for name, (colour, mark) in MARKS.items():
        found = [group for group in groups(record) if group[0]["name"] == name]
        bits = [group[0]["bits"] for group in found]
        values = [[way[measure] for way in group] for group in found]
        means = [float(np.mean(some)) for some in values]
        axes.plot(bits, means, color=colour, marker=mark, ms=4.5, lw=1.1, label=name)
        for place, some in zip(bits, values, strict=True):
            axes.plot([place, place], [min(some), max(some)], color=colour, lw=2.2, alpha=0.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks(record["settings"]["bits"], [str(b) for b in record["settings"]["bits"]])
    axes.set(xlabel="bits kept of an image")


def _by_speed(axes: Axes, record: Mapping[str, Any], measure: str) -> None:
    for group in groups(record):
        name, bits = group[0]["name"], group[0]["bits"]
        precision = float(np.mean([way[measure] for way in group]))
        speed = float(np.median([way["queries_per_second"] for way in group]))
        colour, mark = MARKS.get(name, ("black", "*"))
        axes.plot(speed, precision, mark, color=colour, ms=8 if name in WHOLE else 4.5)
        if name in WHOLE:
            axes.annotate(name, (speed, precision), xytext=(5, 4), textcoords="offset points")
        elif name == "autoencoder":
            axes.annotate(
                f"{bits}",
                (speed, precision),
                xytext=(6, 0),
                textcoords="offset points",
                fontsize=7,
                color=colour,
                va="center",
            )
    axes.set_xscale("log")
    axes.set(xlabel=f"queries/s, {record['dataset']['database']:,} images")
