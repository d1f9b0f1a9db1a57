"""Means over seeds and their 95% intervals, by Student's t."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: the mean.
        interval: its 95% interval; None for one seed, which has none.
        values: that it is the mean of.
        paired: for a comparison: whether run with run of equal seed was compared.
    """

    value: float
    interval: tuple[float, float] | None
    values: tuple[float, ...]
    paired: bool = True


def mean(values: Sequence[float]) -> Mean:
    """The mean of independent values."""
    value = statistics.fmean(values)
    if len(values) < 2:
        return Mean(value, None, tuple(values))
    error = statistics.stdev(values) / math.sqrt(len(values))
    return Mean(value, _interval(value, error, len(values) - 1), tuple(values))


def difference(of: Mapping[int | None, float], minus: Mapping[int | None, float]) -> Mean:
    """The mean difference of two experiments, by seed.

    Runs of equal seed are paired if there are any; otherwise it is the difference of the means,
    with Welch's interval.
    """
    if common := sorted(of.keys() & minus.keys(), key=str):
        return mean([of[seed] - minus[seed] for seed in common])
    a, b = list(of.values()), list(minus.values())
    value = statistics.fmean(a) - statistics.fmean(b)
    if min(len(a), len(b)) < 2:
        return Mean(value, None, (value,), paired=False)
    parts = [statistics.variance(group) / len(group) for group in (a, b)]
    squares = sum(part**2 / (len(g) - 1) for part, g in zip(parts, (a, b), strict=True))
    freedom = sum(parts) ** 2 / squares if squares else math.inf
    return Mean(value, _interval(value, math.sqrt(sum(parts)), freedom), (value,), paired=False)


def ratio(of: Mapping[int | None, float], over: Mapping[int | None, float]) -> Mean:
    """The mean ratio of two experiments, by seed; of their means where no seeds are equal."""
    if common := sorted(of.keys() & over.keys(), key=str):
        return mean([of[seed] / over[seed] for seed in common])
    value = statistics.fmean(of.values()) / statistics.fmean(over.values())
    return Mean(value, None, (value,), paired=False)


def _interval(value: float, error: float, freedom: float) -> tuple[float, float]:
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return value - half, value + half
