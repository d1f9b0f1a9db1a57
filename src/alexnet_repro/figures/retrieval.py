"""Precision against what is kept of an image."""

import statistics
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from alexnet_repro.analysis.comparison import by_name_and_bits
from alexnet_repro.figures.paper_style import GREY, RED

DASHES = {"fc7": "-", "fc6": (0, (5, 2)), "pixels": (0, (1, 1.5))}


def draw_comparison(record: Mapping[str, Any]) -> Figure:
    """Codes by their bits, with the range over their seeds; whole vectors and pixels as lines."""
    k = sorted(record["settings"]["k"])[len(record["settings"]["k"]) // 2]
    measure, groups = f"precision_at_{k}", by_name_and_bits(record)
    figure = Figure(figsize=(4.8, 3.5), layout="constrained")
    axes = figure.subplots()
    for (name, bits), (way, *_) in groups.items():
        if name in DASHES:
            label = f"{name}, {bits:,} bits"
            axes.axhline(way[measure], color="black", ls=DASHES[name], lw=0.9, label=label)
    axes.axhline(record["chance"], color=GREY, lw=0.7, ls=(0, (1, 3)), label="chance")
    codes = {
        bits: [way[measure] for way in group]
        for (name, bits), group in groups.items()
        if name == "autoencoder"
    }
    means = [statistics.mean(values) for values in codes.values()]
    axes.plot([*codes], means, color=RED, marker="o", ms=4.5, lw=1.1, label="autoencoder")
    lowest, highest = ([end(values) for values in codes.values()] for end in (min, max))
    axes.vlines([*codes], lowest, highest, color=RED, lw=2.2, alpha=0.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks([*codes], [str(bits) for bits in codes])
    axes.set(xlabel="bits kept of an image", ylabel=f"precision among the {k} nearest (%)")
    axes.legend()
    return figure
