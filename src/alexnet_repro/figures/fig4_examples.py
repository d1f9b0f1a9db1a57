"""Fig. 4: images with their most probable classes, and queries with their nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_repro.analysis.images import Damaged, find_images, read_image
from alexnet_repro.analysis.predictions import class_text, most_probable
from alexnet_repro.analysis.searches import Order
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.data.store import Store
from alexnet_repro.figures.paper_style import BLUE, RED
from alexnet_repro.training.checkpoint import Trained

ACROSS = 4


@dataclass(frozen=True)
class Example:
    """A stored image and the class that it is of, if that is known."""

    pixels: Pixels
    label: int | None


def drawn_places(labels: Order, count: int, rng: np.random.Generator) -> list[int]:
    """``count`` images of different classes, or of all classes in turn; drawn at random."""
    classes = rng.permutation(np.unique(labels))
    turns = [rng.permutation(np.flatnonzero(labels == label)) for label in classes]
    places = [int(turn[i]) for i in range(max(map(len, turns))) for turn in turns if i < len(turn)]
    return places[:count]


def stored_examples(store: Store, split: str, count: int, seed: int) -> list[Example]:
    """Images of a split with their classes, as many of each."""
    places = drawn_places(store.splits[split].labels, count, np.random.default_rng(seed))
    return [stored_example(store, split, place) for place in places]


def stored_example(store: Store, split: str, place: int) -> Example:
    """One image of a split with its class."""
    images = store.splits[split]
    return Example(images.image(place), int(images.labels[place]))


def own_examples(trained: Trained, given: str, count: int) -> list[Example]:
    """The user's images; their class is the folder that they lie in, if it is one of a class.

    Raises:
        UsageError: if none of them can be read.
    """
    known = {name: label for label, name in enumerate(trained.classes)}
    found = []
    for path in find_images(given)[:count]:
        image = read_image(path, trained.image_size)
        if not isinstance(image, Damaged):
            found.append(Example(image, known.get(Path(path).parent.name)))
    if not found:
        raise UsageError(f"--images {given}: none of them can be read; predict says why")
    return found


def draw_predictions(trained: Trained, examples: Sequence[Example]) -> Figure:
    """Fig. 4, left: every image above its five most probable classes, the right one in red."""
    rows = -(-len(examples) // ACROSS)
    figure = Figure(figsize=(1.75 * min(ACROSS, len(examples)), 2.95 * rows))
    grid = figure.subplots(
        2 * rows,
        min(ACROSS, len(examples)),
        squeeze=False,
        height_ratios=[1.75, 1.0] * rows,
    )
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, wspace=0.08, hspace=0.13)
    for axes in grid.flat:
        axes.set_axis_off()
    best = most_probable(trained, [example.pixels for example in examples], "ten", 5)
    for number, (example, (labels, probabilities)) in enumerate(zip(examples, best, strict=True)):
        row, column = 2 * (number // ACROSS), number % ACROSS
        picture, bars = grid[row, column], grid[row + 1, column]
        picture.imshow(example.pixels)
        if example.label is not None:
            picture.set_title(class_text(trained, example.label), fontsize=8.5, y=-0.11, pad=0)
        _bars(bars, trained, labels, probabilities, example.label)
    return figure


def _bars(
    axes: Axes,
    trained: Trained,
    labels: Sequence[int],
    probabilities: Sequence[float],
    right: int | None,
) -> None:
    places = range(len(labels))
    colours = [RED if label == right else BLUE for label in labels]
    axes.barh(places, probabilities, color=colours, alpha=0.55, height=0.82)
    for place, label in zip(places, labels, strict=True):
        axes.text(0.015, place, class_text(trained, label), va="center", fontsize=7.5)
    axes.set(xlim=(0, 1), ylim=(len(labels) - 0.4, -0.6))
    axes.plot((0, 0), (-0.5, len(labels) - 0.5), color="black", lw=0.7)


@dataclass(frozen=True)
class Neighbours:
    """A query and what a way of comparing finds nearest to it, nearest first."""

    query: Example
    nearest: Sequence[Example]


def draw_neighbours(blocks: dict[str, Sequence[Neighbours]]) -> Figure:
    """Fig. 4, right, for several ways of comparing, one block below the other.

    The first image of a row is the query. A red frame says that a neighbour is of another class.
    """
    across = 1 + max(len(row.nearest) for rows in blocks.values() for row in rows)
    heights = [len(rows) for rows in blocks.values()]
    title = 0.26
    figure = Figure(figsize=(0.92 * across + 0.2, 0.92 * sum(heights) + title * len(blocks)))
    panels = figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=heights)
    for panel, (name, rows) in zip(panels[:, 0], blocks.items(), strict=True):
        panel.suptitle(name, fontsize=10, y=0.995, va="top")
        ratios = [1.0, 0.12, *[1.0] * (across - 1)]
        grid = panel.subplots(len(rows), across + 1, squeeze=False, width_ratios=ratios)
        top = 1 - title / (0.92 * len(rows) + title)
        panel.subplots_adjust(0.01, 0.01, 0.99, top, wspace=0.05, hspace=0.05)
        for axes_row, row in zip(grid, rows, strict=True):
            for axes in axes_row:
                axes.set_axis_off()
            axes_row[0].imshow(row.query.pixels)
            for axes, example in zip(axes_row[2:], row.nearest, strict=False):
                axes.imshow(example.pixels)
                if example.label != row.query.label:
                    _frame(axes)
    return figure


def _frame(axes: Axes) -> None:
    axes.set_axis_on()
    axes.set(xticks=(), yticks=())
    for spine in axes.spines.values():
        spine.set(visible=True, color=RED, linewidth=1.6)
