"""How well images of the same class are found, by each way of comparing them (§7.1)."""

import statistics
import timeit
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from rich.table import Table

from alexnet_repro.console import counting
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.errors import UsageError
from alexnet_repro.learning.checkpoint import Trained
from alexnet_repro.learning.run import quieten_libraries
from alexnet_repro.seeing.codes import cached_autoencoder_codes, packed
from alexnet_repro.seeing.features import SplitFeatures, Vectors, cached_features, class_words
from alexnet_repro.seeing.ranking import Array, Order, average_precision, by_class, precision_at
from alexnet_repro.seeing.searches import (
    Pictures,
    Search,
    by_distance,
    by_hamming_distance,
    by_pixels,
    by_product_quantization,
)

WHOLE = ("fc7", "fc6", "pixels")
CODES = ("autoencoder", "PCA, signs", "ITQ", "PQ")
"""The names of the ways: by whole vectors, and by codes of some bits of fc7."""

QUERIES_AT_A_TIME = 100


def compare(trained: Trained, data: ImageDataModule, values: Mapping[str, Any]) -> dict[str, Any]:
    """Every way's precision, average precision by class, and queries/s, for the record.

    The database is the training images, in an order drawn at random; queries are the test images.

    Raises:
        UsageError: if there are fewer images than ``evaluate.k``, or components than bits.
    """
    quieten_libraries()
    settings, store = values["evaluate"], data.store
    train, test = store.splits["train"], store.splits[data.test_split]
    if (k := max(settings["k"])) > len(train):
        raise UsageError(f"evaluate.k={k}: the database has only {len(train)} images")
    cache = Path(values["data"]["cache_dir"]).expanduser()
    database, queries = (
        cached_features(trained, store, split, values["batch_size"], cache)
        for split in ("train", data.test_split)
    )
    if (bits := max(settings["bits"])) > (most := min(database.fc7.shape)):
        raise UsageError(f"evaluate.bits={bits}: fc7 has no more than {most} components here")
    order = np.random.default_rng(settings["seed"]).permutation(len(train))
    shuffled = SplitFeatures(database.fc6[order], database.fc7[order])
    pictures = Pictures(train, order), Pictures(test, np.arange(len(test)))
    labels = train.labels[order], test.labels
    ways, searches = [], []
    for search, seed in _searches(shuffled, queries, pictures, values, cache):
        scores = _scores(search, *labels, settings["k"], len(store.classes))
        ways.append({"name": search.name, "bits": search.bits, "seed": seed, **scores})
        searches.append(search)
    for way, speed in zip(ways, _speeds(searches, settings), strict=True):
        way["queries_per_second"] = speed
    shares = np.bincount(labels[0], minlength=len(store.classes)) / len(labels[0])
    return {
        "dataset": {
            "name": data.dataset_name,
            "store": store.directory.name,
            "database": len(train),
            "queries": len(test),
            "split": data.test_split,
            "stored_pixels": train.size,
            "classes": class_words(store, trained),
        },
        "chance": 100 * float(shares[labels[1]].mean()),
        "ways": ways,
    }


def _searches(
    database: SplitFeatures,
    queries: SplitFeatures,
    pictures: tuple[Pictures, Pictures],
    values: Mapping[str, Any],
    cache: Path,
) -> Iterator[tuple[Search, int | None]]:
    """Every way, and the seed of those that are trained with one."""
    settings = values["evaluate"]
    yield by_distance("fc7", database.fc7, queries.fc7), None
    yield by_distance("fc6", database.fc6, queries.fc6), None
    yield by_pixels("pixels", *pictures), None
    projected = principal_components(database.fc7, queries.fc7, max(settings["bits"]))
    total = len(settings["bits"]) * len(settings["seeds"])
    with counting("autoencoders", total, "trained") as advance:
        for bits in settings["bits"]:
            for seed in settings["seeds"]:
                learned = cached_autoencoder_codes(
                    database.fc7,
                    queries.fc7,
                    bits,
                    seed,
                    settings["autoencoder"],
                    values["device"],
                    cache,
                )
                yield by_hamming_distance("autoencoder", *learned), seed
                advance(1)
    for bits in settings["bits"]:
        first = [vectors[:, :bits] for vectors in projected]
        yield by_hamming_distance("PCA, signs", *map(packed, first)), None
        yield by_hamming_distance("ITQ", *map(packed, rotated(*first))), None
        yield by_product_quantization("PQ", database.fc7, queries.fc7, bits), None


def principal_components(
    database: Vectors, queries: Vectors, count: int
) -> tuple[Vectors, Vectors]:
    """Both, projected onto the first ``count`` principal components of the database."""
    mean = torch.from_numpy(database.mean(axis=0))
    x, asked = (torch.from_numpy(vectors) - mean for vectors in (database, queries))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Some more than are kept make the randomized decomposition exact to a few digits.
        _, _, components = torch.pca_lowrank(x, min(count + 32, *x.shape), center=False, niter=4)
    kept = components[:, :count]
    return (x @ kept).numpy(), (asked @ kept).numpy()


def rotated(database: Vectors, queries: Vectors) -> tuple[Vectors, Vectors]:
    """Principal components turned by faiss's ITQ, so that their signs lose less."""
    itq = faiss.ITQMatrix(database.shape[1])
    itq.train(np.ascontiguousarray(database))
    return itq.apply(np.ascontiguousarray(database)), itq.apply(np.ascontiguousarray(queries))


def _scores(
    search: Search, database: Order, queries: Order, ks: list[int], classes: int
) -> dict[str, Any]:
    """Percent: precision at every k and mean average precision, of all queries and by class."""
    precisions: dict[int, list[Array]] = {k: [] for k in ks}
    averages: list[Array] = []
    for first in range(0, search.queries, QUERIES_AT_A_TIME):
        rows = slice(first, min(first + QUERIES_AT_A_TIME, search.queries))
        order = search.nearest(rows, len(database))
        relevant = database[order] == queries[rows, None]
        averages.append(average_precision(relevant))
        for k in ks:
            precisions[k].append(precision_at(relevant, k))
    values = {f"precision_at_{k}": np.concatenate(precisions[k]) for k in ks}
    values["mean_average_precision"] = np.concatenate(averages)
    return {
        **{name: 100 * float(value.mean()) for name, value in values.items()},
        "by_class": {
            name: (100 * by_class(value, queries, classes)).tolist()
            for name, value in values.items()
        },
    }


def _speeds(searches: list[Search], settings: Mapping[str, Any]) -> list[float]:
    """Queries/s of each way for the largest k, the query's own vector or code being there."""
    count, rates = max(settings["k"]), []
    for search in searches:
        rows = slice(0, min(settings["timed_queries"], search.queries))
        nearest = partial(search.nearest, rows, count)
        # The first round warms up.
        _, *seconds = timeit.repeat(nearest, number=1, repeat=1 + settings["rounds"])
        rates.append(float(f"{rows.stop / statistics.median(seconds):.4g}"))
    return rates


def comparison_tables(record: Mapping[str, Any]) -> Iterator[Table]:
    """All ways in percent; then the average precision of some by class."""
    measures = [f"precision_at_{k}" for k in record["settings"]["k"]]
    measures.append("mean_average_precision")
    table = Table(box=None, header_style="bold", padding=(0, 1))
    headers = ("way", "bits", *(f"P@{k}" for k in record["settings"]["k"]), "mAP")
    for number, header in enumerate((*headers, "queries/s")):
        table.add_column(header, justify="right" if number else "left", no_wrap=True)
    for group in groups(record):
        first = group[0]
        cells = [_mean_and_range([way[measure] for way in group]) for measure in measures]
        speed = np.median([way["queries_per_second"] for way in group])
        table.add_row(first["name"], f"{first['bits']:,}", *cells, f"{speed:,.0f}")
    chance = f"{record['chance']:.1f}"
    table.add_row("chance", "", *[chance] * len(measures), "")
    yield table
    yield _class_table(record)


def groups(record: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """The ways of the same name and bits together: they differ in their seed."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for way in record["ways"]:
        found.setdefault((way["name"], way["bits"]), []).append(way)
    return list(found.values())


def _class_table(record: Mapping[str, Any]) -> Table:
    """Mean average precision by class, of whole vectors and of the autoencoders' longest codes."""
    longest = max(record["settings"]["bits"])
    shown = [
        group
        for group in groups(record)
        if group[0]["name"] in WHOLE
        or (group[0]["name"] == "autoencoder" and group[0]["bits"] == longest)
    ]
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("mAP by class")
    for group in shown:
        name = group[0]["name"]
        table.add_column(name if name in WHOLE else f"{name}, {longest} bits", justify="right")
    for label, said in enumerate(record["dataset"]["classes"]):
        cells = (
            np.mean([way["by_class"]["mean_average_precision"][label] for way in group])
            for group in shown
        )
        table.add_row(said, *(f"{cell:.1f}" for cell in cells))
    return table


def _mean_and_range(values: list[float]) -> str:
    mean = f"{np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean}\n{min(values):.1f}–{max(values):.1f}"
