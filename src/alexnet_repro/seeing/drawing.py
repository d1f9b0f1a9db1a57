"""The figures of the paper, each from what a configuration says."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure

from alexnet_repro.errors import UsageError
from alexnet_repro.learning.checkpoint import load_trained, paper_network
from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.results.record import provenance, write_json
from alexnet_repro.seeing import architecture_picture, examples, kernel_pictures, training_error
from alexnet_repro.seeing.features import cached_features, labelled_images
from alexnet_repro.seeing.kernels import conv1_kernels, specialization
from alexnet_repro.seeing.paper_style import paper_style, save
from alexnet_repro.seeing.predictions import described, trained_with_words
from alexnet_repro.seeing.searches import StoredPixels, nearest_pixels, nearest_vectors

log = logging.getLogger(__name__)

Pictured = dict[str, Figure]
"""Figures by the name of their file."""


def draw(values: Mapping[str, Any]) -> None:
    """Draw ``figure`` of a validated configuration into ``output``.

    Raises:
        UsageError: for what the user can put right.
    """
    output = Path(values["output"]).expanduser()
    with paper_style():
        for name, figure in FIGURES[values["figure"]](values, output).items():
            save(figure, output, name, values["formats"], values["dpi"])


def figure_1(values: Mapping[str, Any], output: Path) -> Pictured:
    """Training error against epochs, ReLU and tanh."""
    curves = [training_error.read_training_error(Path(run)) for run in values["runs"]]
    figure = training_error.draw_training_error(curves, values["threshold"])
    log.info("%s", training_error.ratio_text(curves, values["threshold"]))
    return {"figure_1": figure}


def figure_2(values: Mapping[str, Any], output: Path) -> Pictured:
    """The architecture: of the checkpoint's network, or of the paper's."""
    if values["checkpoint"] is None:
        return {"figure_2": architecture_picture.draw_architecture(AlexNet())}
    network = paper_network(load_trained(Path(values["checkpoint"])))
    return {"figure_2": architecture_picture.draw_architecture(network)}


def figure_3(values: Mapping[str, Any], output: Path) -> Pictured:
    """The kernels of conv1, and what tells the columns apart, with its record ``kernels.json``."""
    trained = trained_with_words(values)
    measured = specialization(trained, values["permutations"], values["seed"])
    record = {
        "format": 1,
        **provenance("alexnet_repro.figures", HydraConfig.get().overrides.task),
        "network": described(trained),
        **measured,
    }
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "kernels.json", record)
    for measure, title in kernel_pictures.TITLES.items():
        means, p_value = measured[measure]["means"], measured[measure]["p_value"]
        log.info("%s: column 1 %.3f, column 2 %.3f; p = %.5f", title, *means, p_value)
    return {
        "figure_3": kernel_pictures.draw_kernels(conv1_kernels(trained)),
        "specialization": kernel_pictures.draw_specialization(measured),
    }


def figure_4(values: Mapping[str, Any], output: Path) -> Pictured:
    """Images with their most probable classes; queries with their nearest training images."""
    trained = trained_with_words(values)
    data = labelled_images(values["data"], trained)
    store, split = data.store, data.test_split
    if store.classes != trained.classes:
        raise UsageError(f"data: its classes are not those of {values['checkpoint']}")
    if values["images"] is None:
        shown = examples.stored_examples(store, split, values["shown"], values["seed"])
    else:
        shown = examples.own_examples(trained, values["images"], values["shown"])
    cache = Path(values["data"]["cache_dir"]).expanduser()
    database, asked = (
        cached_features(trained, store, name, values["batch_size"], cache)["fc7"]
        for name in ("train", split)
    )
    rng, count = np.random.default_rng([values["seed"], 1]), values["neighbours"]
    places = np.array(examples.drawn_places(store.splits[split].labels, values["queries"], rng))
    pixels = StoredPixels(store.splits["train"], np.arange(len(database)))
    of_queries = StoredPixels(store.splits[split], places)[:]
    found = {
        "nearest by the 4096 activations of fc7": nearest_vectors(asked[places], database, count),
        "nearest by pixels": nearest_pixels(of_queries, pixels, count),
    }
    blocks: dict[str, Sequence[examples.Neighbours]] = {
        name: [
            examples.Neighbours(
                examples.stored_example(store, split, query),
                [examples.stored_example(store, "train", place) for place in row],
            )
            for query, row in zip(places, nearest, strict=True)
        ]
        for name, nearest in found.items()
    }
    return {
        "figure_4_left": examples.draw_predictions(trained, shown),
        "figure_4_right": examples.draw_neighbours(blocks),
    }


FIGURES: dict[int, Callable[[Mapping[str, Any], Path], Pictured]] = {
    1: figure_1,
    2: figure_2,
    3: figure_3,
    4: figure_4,
}
