"""Fig. 3, the kernels of conv1, and how the columns differ."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_repro.analysis.kernels import MEASURES, Array
from alexnet_repro.figures.paper_style import COLUMN_COLOURS

ACROSS = 16
GAP, COLUMN_GAP = 2, 8
"""Pixels of white between kernels, and between the columns; a kernel is 11 of these pixels."""

SCALE_QUANTILE = 0.999
"""This share of the weights lies within the scale; those beyond it are shown as its ends."""

TITLES = {"colour_saturation": "colour saturation", "orientation_energy": "orientation energy"}


def kernel_scale(kernels: Array) -> float:
    """The weight that is shown as full intensity; minus it is shown as none, and 0 as half."""
    return float(np.quantile(np.abs(kernels), SCALE_QUANTILE)) or 1.0


def kernel_tiles(kernels: Array, across: int = ACROSS) -> Array:
    """Kernels (kernels, 3, h, w) → an RGB picture (height, width, 3), 0–1.

    All on one scale, in rows of ``across``; the first half above the second, with a gap between.
    """
    count, _, height, width = kernels.shape
    tiles = (0.5 + kernels / (2 * kernel_scale(kernels))).clip(0, 1).transpose(0, 2, 3, 1)
    across = min(across, count // 2)
    rows = -(-count // 2 // across)
    row, column = height + GAP, width + GAP
    half_height = rows * row - GAP
    picture = np.ones((2 * half_height + COLUMN_GAP, across * column - GAP, 3))
    for half, top in zip(np.split(tiles, 2), (0, half_height + COLUMN_GAP), strict=True):
        for place, tile in enumerate(half):
            y, x = top + place // across * row, place % across * column
            picture[y : y + height, x : x + width] = tile
    return picture


def draw_kernels(kernels: Array) -> Figure:
    """Fig. 3: the kernels of the first column above those of the second, on one scale."""
    picture = kernel_tiles(kernels)
    height, width = picture.shape[:2]
    figure = Figure(figsize=(6.4, 6.4 * height / width))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture, interpolation="nearest")
    axes.set_axis_off()
    middles = height / 4 - COLUMN_GAP / 4, 3 * height / 4 + COLUMN_GAP / 4
    for number, (middle, colour) in enumerate(zip(middles, COLUMN_COLOURS, strict=True), 1):
        axes.text(
            -3, middle, f"column {number}", rotation=90, va="center", ha="right", color=colour
        )
    return figure


def draw_specialization(measured: dict[str, Any]) -> Figure:
    """Every kernel's measures by column, with the means and what the permutation test says."""
    figure = Figure(figsize=(6.6, 3.1), layout="constrained")
    scatter, *strips = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    for number, colour in enumerate(COLUMN_COLOURS, 1):
        x, y = (measured[measure][f"column_{number}"] for measure in MEASURES)
        scatter.plot(x, y, "o", ms=4, mew=0, alpha=0.75, color=colour, label=f"column {number}")
    scatter.set(xlabel=TITLES[MEASURES[0]], ylabel=TITLES[MEASURES[1]])
    scatter.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    scatter.legend(loc="upper right", handletextpad=0.1, borderaxespad=0)
    for axes, measure in zip(strips, MEASURES, strict=True):
        _strip(axes, measure, measured[measure])
    return figure


def _strip(axes: Axes, measure: str, values: dict[str, Any]) -> None:
    for number, colour in enumerate(COLUMN_COLOURS, 1):
        heights = np.sort(values[f"column_{number}"])
        # Kernels of about the same height stand beside each other.
        beside = 0.28 * np.sin(2.4 * np.arange(len(heights)))
        axes.plot(number + beside, heights, "o", ms=3, mew=0, alpha=0.6, color=colour)
        mean = values["means"][number - 1]
        axes.plot([number - 0.36, number + 0.36], [mean, mean], color="black", lw=1.4)
    axes.set(xlim=(0.4, 2.6), ylim=(-0.03, 1.03), xticks=(1, 2), title=TITLES[measure])
    axes.set_xticklabels(("column 1", "column 2"))
    axes.set_xlabel(p_value_text(values["p_value"]))


def p_value_text(p_value: float) -> str:
    return f"p = {p_value:.4f}" if p_value < 0.1 else f"p = {p_value:.2f}"
