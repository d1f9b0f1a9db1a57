"""The figures of the paper, each from what it is drawn of."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alexnet_repro.analysis.features import cached_features, prepared_images
from alexnet_repro.analysis.kernels import conv1_kernels, specialization
from alexnet_repro.analysis.predictions import described
from alexnet_repro.analysis.searches import StoredPixels, nearest_pixels, nearest_vectors
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import write_json
from alexnet_repro.base.record import provenance
from alexnet_repro.figures import fig1_relu_speed, fig2_architecture, fig3_kernels, fig4_examples
from alexnet_repro.figures.paper_style import paper_style, save
from alexnet_repro.figures.retrieval import draw_comparison
from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.training.checkpoint import Trained, load_trained, paper_network

log = logging.getLogger(__name__)

Pictured = dict[str, Figure]
"""Figures by the name of their file."""


@paper_style()
def draw(pictures: Pictured, output: Path, formats: Sequence[str], dpi: int) -> None:
    """Write the pictures into a folder."""
    for name, figure in pictures.items():
        save(figure, output, name, formats, dpi)


@paper_style()
def figure_1(runs: Sequence[Path], threshold: float) -> Pictured:
    """Training error against epochs, ReLU and tanh."""
    ended = (run for folder in runs for run in fig1_relu_speed.ended_runs(folder))
    curves = [fig1_relu_speed.read_training_error(run) for run in ended]
    figure = fig1_relu_speed.draw_training_error(curves, threshold)
    log.info("%s", fig1_relu_speed.ratio_text(curves, threshold))
    return {"figure_1": figure}


@paper_style()
def figure_2(checkpoint: Path | None) -> Pictured:
    """The architecture: of the checkpoint's network, or of the paper's."""
    network = AlexNet() if checkpoint is None else paper_network(load_trained(checkpoint))
    return {"figure_2": fig2_architecture.draw_architecture(network)}


@paper_style()
def figure_3(trained: Trained, permutations: int, seed: int, output: Path) -> Pictured:
    """The kernels of conv1 and how the columns differ, with the record ``kernels.json``."""
    measured = specialization(trained, permutations, seed)
    record = {
        "format": 1,
        **provenance("alexnet_repro.figures"),
        "network": described(trained),
        **measured,
    }
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "kernels.json", record)
    for measure, title in fig3_kernels.TITLES.items():
        means, p_value = measured[measure]["means"], measured[measure]["p_value"]
        log.info("%s: column 1 %.3f, column 2 %.3f; p = %.5f", title, *means, p_value)
    return {
        "figure_3": fig3_kernels.draw_kernels(conv1_kernels(trained)),
        "specialization": fig3_kernels.draw_specialization(measured),
    }


@paper_style()
def figure_4(
    trained: Trained,
    data: Mapping[str, Any],
    images: str | None,
    shown: int,
    queries: int,
    neighbours: int,
    seed: int,
    batch_size: int,
) -> Pictured:
    """Images with their most probable classes; queries with their nearest training images.

    Args:
        data: the node of the images that the network was trained on.
        images: a file, a folder or a pattern of the images on the left; None for test images.
        shown: how many of them.
        queries: test images on the right, each with so many ``neighbours``.
    """
    module = prepared_images(data)
    store, split = module.store, module.test_split
    if store.classes != trained.classes:
        raise UsageError(f"data: its classes are not those of {trained.path}")
    if images is None:
        left = fig4_examples.stored_examples(store, split, shown, seed)
    else:
        left = fig4_examples.own_examples(trained, images, shown)
    database, asked = (
        cached_features(trained, store, name, batch_size, module.cache_dir)["fc7"]
        for name in ("train", split)
    )
    rng = np.random.default_rng([seed, 1])
    places = np.array(fig4_examples.drawn_places(store.splits[split].labels, queries, rng))
    pixels = StoredPixels(store.splits["train"], np.arange(len(database)))
    of_queries = StoredPixels(store.splits[split], places)[:]
    found = {
        f"nearest by the {database.shape[1]:,} activations of fc7": nearest_vectors(
            asked[places], database, neighbours
        ),
        "nearest by pixels": nearest_pixels(of_queries, pixels, neighbours),
    }
    blocks: dict[str, Sequence[fig4_examples.Neighbours]] = {
        name: [
            fig4_examples.Neighbours(
                fig4_examples.stored_example(store, split, query),
                [fig4_examples.stored_example(store, "train", place) for place in row],
            )
            for query, row in zip(places, nearest, strict=True)
        ]
        for name, nearest in found.items()
    }
    return {
        "figure_4_left": fig4_examples.draw_predictions(trained, left),
        "figure_4_right": fig4_examples.draw_neighbours(blocks),
    }


@paper_style()
def retrieval(record: Mapping[str, Any]) -> Pictured:
    """What ``retrieve evaluate`` measured: precision against what is kept of an image."""
    return {"retrieval": draw_comparison(record)}
