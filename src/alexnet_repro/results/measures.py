"""What claims measure: a figure of one record, by the name that a claim's file gives.

They need not look whether a record has what they read: :func:`measured` does.
"""

import math
from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Any

from alexnet_repro.results.records import Record, RecordsBySeed, Values

FIG_1 = 25.0
"""The training error in percent at which Fig. 1 compares speeds."""


def ten_crop_top1(values: Values) -> float:
    """Top-1 error in percent, averaged over ten crops (§4.1)."""
    return float(values["errors"]["ten"]["top1"])


def ten_crop_top5(values: Values) -> float:
    """Top-5 error, where there are more classes than five."""
    error = float(values["errors"]["ten"]["top5"])
    if values.get("chance", {}).get("top5") == 0:
        raise LookupError("every class is among the five most probable")
    return error


def ten_crops_minus_centre_top1(values: Values) -> float:
    """What averaging over ten crops changes in the top-1 error (§5.1)."""
    return ten_crop_top1(values) - float(values["errors"]["centre"]["top1"])


def ten_crops_minus_centre_top5(values: Values) -> float:
    return ten_crop_top5(values) - float(values["errors"]["centre"]["top5"])


def training_top1(values: Values) -> float:
    """Top-1 error in percent of the last epoch on the training images, as augmented."""
    return float(values["curve"][-1]["train/top1_error"])


def top1_gap(values: Values) -> float:
    """How much is overfitted: the centre crops of test images against those of training images."""
    errors, training = (values[name]["centre"]["top1"] for name in ("errors", "training_errors"))
    return float(errors) - float(training)


def epochs_to_25_percent(values: Values) -> float:
    """Epochs until the training error is 25 % (§4.1, Fig. 1)."""
    return float(_reached(values, FIG_1)["epoch"])


def seconds_to_25_percent(values: Values) -> float:
    """Seconds of training until the training error is 25 %."""
    return float(_reached(values, FIG_1)["seconds"])


def epochs_to_lowest_validation_error(values: Values) -> float:
    """Iterations to converge (§5.2), in epochs."""
    rows = _rows(values, "val/top1_error")
    return float(min(rows, key=lambda row: float(row["val/top1_error"]))["epoch"])


def gpu_seconds_per_epoch(values: Values) -> float:
    """Seconds of training per epoch where every column has a GPU of its own (§4.2)."""
    arrangement, gpu = values["arrangement"], values["machine"]["gpu"]
    if gpu is None or (arrangement["columns_per_process"], arrangement["replicas"]) != (1, 1):
        raise LookupError("there is no GPU for each column")
    return float(values["train_seconds"]) / float(values["epochs"])


def p_value_of_colour(values: Values) -> float:
    """The probability that the kernels of the columns differ so much in colour by chance."""
    return float(values["colour_saturation"]["p_value"])


def precision_of_fc7_above_pixels(values: Values) -> float:
    """Mean average precision of retrieval in percent, nearest by fc7 less nearest by pixels."""
    return _precision(values, "fc7") - _precision(values, "pixels")


def precision_of_128_bits_above_pixels(values: Values) -> float:
    """The same by an autoencoder's codes of 128 bits, averaged over its seeds."""
    return _precision(values, "autoencoder", bits=128) - _precision(values, "pixels")


def _rows(values: Values, column: str) -> Iterator[Values]:
    return (row for row in values["curve"] if row.get(column) is not None)


def _reached(values: Values, error: float) -> Values:
    """The first row of the curve with at most this training error."""
    rows = _rows(values, "train/top1_error")
    return next(row for row in rows if float(row["train/top1_error"]) <= error)


def _precision(values: Values, name: str, **equal: Any) -> float:
    ways = [way for way in values["ways"] if way | {"name": name} | equal == way]
    return fmean(float(way["mean_average_precision"]) for way in ways)


IN_POINTS = {
    ten_crop_top1,
    ten_crop_top5,
    ten_crops_minus_centre_top1,
    ten_crops_minus_centre_top5,
    training_top1,
    top1_gap,
}
"""Errors in percent, and their differences."""

MEASURES: dict[str, Callable[[Values], float]] = {
    name: function
    for name, function in list(globals().items())
    if getattr(function, "__module__", "") == __name__ and not name.startswith("_")
}
"""By name: every function above that is not private."""


def measured(record: Record, measure: str) -> float | None:
    """A figure of a record; None where the record has none."""
    try:
        value = MEASURES[measure](record.values)
        return value if math.isfinite(value) else None
    except (LookupError, TypeError, ValueError, ArithmeticError, StopIteration):
        return None


def by_seed(records: RecordsBySeed, measure: str) -> dict[int | None, float]:
    """A figure of each record that has it."""
    found = {seed: measured(record, measure) for seed, record in records.items()}
    return {seed: value for seed, value in found.items() if value is not None}
