"""How well images of the same class are found, by each way of comparing them (§7.1)."""

import statistics
import timeit
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from alexnet_repro.analysis.codes import Autoencoder, autoencoder_codes
from alexnet_repro.analysis.features import cached_features, class_words
from alexnet_repro.analysis.searches import (
    Order,
    StoredPixels,
    nearest_codes,
    nearest_pixels,
    nearest_vectors,
)
from alexnet_repro.base.console import counting
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.training.checkpoint import Trained
from alexnet_repro.training.run import quieten_libraries

QUERIES_AT_A_TIME = 100


@dataclass(frozen=True)
class Settings:
    """What is compared, and how.

    Attributes:
        k: precision among so many nearest.
        bits: of the codes.
        seeds: of the autoencoders, one each.
        seed: of the order of the database, in which images at equal distance stay.
        timed_queries, rounds: of timing; the median round counts.
    """

    k: list[int]
    bits: list[int]
    seeds: list[int]
    seed: int
    timed_queries: int
    rounds: int
    autoencoder: Autoencoder


@dataclass(frozen=True)
class Way:
    """A way to compare queries with a database.

    The database is in an order drawn at random, since images at the same distance (Hamming
    distances are often the same) stay in it: sorted by class, it would favour some.

    Attributes:
        name: in table and picture.
        bits: what is kept of an image of the database.
        nearest: queries, database and a count → the places of so many nearest images.
        queries, database: what ``nearest`` compares.
        seed: of what is trained for it.
    """

    name: str
    bits: int
    nearest: Callable[[Any, Any, int], Order]
    queries: Any
    database: Any
    seed: int | None = None


def compare(
    trained: Trained, data: ImageDataModule, settings: Settings, batch_size: int
) -> dict[str, Any]:
    """Every way's precision, average precision by class, and queries/s, for the record.

    The database is the training images; queries are the test images.

    Raises:
        UsageError: if there are fewer images than the largest ``k``.
    """
    quieten_libraries()
    store = data.store
    train, test = store.splits["train"], store.splits[data.test_split]
    if (k := max(settings.k)) > len(train):
        raise UsageError(f"--k {k}: the database has only {len(train)} images")
    order = np.random.default_rng(settings.seed).permutation(len(train))
    labels = train.labels[order], test.labels
    ways = [
        {
            "name": way.name,
            "bits": way.bits,
            "seed": way.seed,
            **_scores(way, *labels, settings.k, len(store.classes)),
            "queries_per_second": _speed(way, settings),
        }
        for way in _ways(trained, data, order, settings, batch_size)
    ]
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


def _ways(
    trained: Trained, data: ImageDataModule, order: Order, settings: Settings, batch_size: int
) -> Iterator[Way]:
    store, device = data.store, next(trained.network.parameters()).device.type
    train, test = (
        cached_features(trained, store, split, batch_size, data.cache_dir)
        for split in ("train", data.test_split)
    )
    fc7 = train["fc7"][order]
    yield Way("fc7", 32 * fc7.shape[1], nearest_vectors, test["fc7"], fc7)
    fc6 = train["fc6"][order]
    yield Way("fc6", 32 * fc6.shape[1], nearest_vectors, test["fc6"], fc6)
    database = StoredPixels(store.splits["train"], order)
    asked = store.splits[data.test_split]
    queries = StoredPixels(asked, np.arange(len(asked)))
    yield Way("pixels", 24 * database.split.size**2, nearest_pixels, queries, database)
    total = len(settings.bits) * len(settings.seeds)
    with counting("autoencoders", total, "trained") as advance:
        for bits in settings.bits:
            for seed in settings.seeds:
                codes, of_queries = autoencoder_codes(
                    fc7, test["fc7"], bits, seed, settings.autoencoder, device
                )
                advance(1)
                yield Way("autoencoder", bits, nearest_codes, of_queries, codes, seed)


def _scores(
    way: Way, database: Order, queries: Order, ks: list[int], classes: int
) -> dict[str, Any]:
    """Percent: precision at every k and mean average precision, of all queries and by class.

    Args:
        database, queries: the labels of either.
    """
    parts = []
    for first in range(0, len(queries), QUERIES_AT_A_TIME):
        rows = slice(first, first + QUERIES_AT_A_TIME)
        order = way.nearest(way.queries[rows], way.database, len(database))
        relevant = database[order] == queries[rows, None]
        precisions = [relevant[:, :k].mean(axis=1) for k in ks]
        parts.append(np.stack([*precisions, average_precision(relevant)]))
    names = [f"precision_at_{k}" for k in ks] + ["mean_average_precision"]
    percent = 100 * np.concatenate(parts, axis=1)
    counts = np.bincount(queries, minlength=classes)
    sums = [np.bincount(queries, row, minlength=classes) for row in percent]
    by_class = np.divide(sums, counts, out=np.full((len(names), classes), np.nan), where=counts > 0)
    return {
        **dict(zip(names, percent.mean(axis=1).tolist(), strict=True)),
        "by_class": dict(zip(names, by_class.tolist(), strict=True)),
    }


def average_precision(relevant: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The mean, over the relevant images, of the precision at the place of each.

    Args:
        relevant: (queries, images), all images in order of likeness.

    Returns:
        (queries,), 0 where nothing is relevant.
    """
    precisions = relevant.cumsum(axis=1) / np.arange(1, relevant.shape[1] + 1)
    total = (precisions * relevant).sum(axis=1)
    mean: npt.NDArray[np.float64] = total / relevant.sum(axis=1).clip(min=1)
    return mean


def _speed(way: Way, settings: Settings) -> float:
    """Queries/s for the largest k in the median round, the query's vector or code being there."""
    queries = way.queries[: settings.timed_queries]
    seconds = timeit.repeat(
        lambda: way.nearest(queries, way.database, max(settings.k)),
        number=1,
        repeat=settings.rounds,
    )
    return float(f"{len(queries) / statistics.median(seconds):.4g}")


def comparison_table(record: Mapping[str, Any]) -> Table:
    """All ways, in percent; of those that were trained, the mean and the range over the seeds."""
    measures = [f"precision_at_{k}" for k in record["settings"]["k"]]
    measures.append("mean_average_precision")
    table = Table(box=None, header_style="bold", padding=(0, 1))
    headers = ("way", "bits", *(f"P@{k}" for k in record["settings"]["k"]), "mAP")
    for number, header in enumerate((*headers, "queries/s")):
        table.add_column(header, justify="right" if number else "left", no_wrap=True)
    for (name, bits), group in by_name_and_bits(record).items():
        cells = [_mean_and_range([way[measure] for way in group]) for measure in measures]
        speed = statistics.median(way["queries_per_second"] for way in group)
        table.add_row(name, f"{bits:,}", *cells, f"{speed:,.0f}")
    chance = f"{record['chance']:.1f}"
    table.add_row("chance", "", *[chance] * len(measures), "")
    return table


def by_name_and_bits(record: Mapping[str, Any]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The ways of the same name and bits together: they differ in their seed."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for way in record["ways"]:
        found.setdefault((way["name"], way["bits"]), []).append(way)
    return found


def _mean_and_range(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean}\n{min(values):.1f}–{max(values):.1f}"
