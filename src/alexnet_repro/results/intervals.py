"""Means over seeds and their 95% intervals, by Student's t."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev, variance

from scipy import stats

BySeed = Mapping[int | None, float]


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

    def __sub__(self, other: float) -> "Mean":
        bounds = self.interval and (self.interval[0] - other, self.interval[1] - other)
        return replace(self, value=self.value - other, interval=bounds)


def mean(values: Sequence[float]) -> Mean:
    """The mean of independent values."""
    value, interval = fmean(values), None
    if len(values) > 1:
        interval = _interval(value, stdev(values) / math.sqrt(len(values)), len(values) - 1)
    return Mean(value, interval, tuple(values))


def difference(of: BySeed, minus: BySeed) -> Mean:
    """The mean difference of two experiments: of the pairs of runs with equal seed.

    Without such pairs it is the difference of the means, with Welch's interval.
    """
    found = _compared(operator.sub, of, minus)
    if found.paired or min(len(of), len(minus)) < 2:
        return found
    groups = [list(of.values()), list(minus.values())]
    parts = [variance(group) / len(group) for group in groups]
    squares = sum(part**2 / (len(g) - 1) for part, g in zip(parts, groups, strict=True))
    freedom = sum(parts) ** 2 / squares if squares else math.inf
    return replace(found, interval=_interval(found.value, math.sqrt(sum(parts)), freedom))


def ratio(of: BySeed, over: BySeed) -> Mean:
    """The mean ratio of two experiments, by seed; of their means where no seeds are equal."""
    return _compared(operator.truediv, of, over)


def _compared(operation: Callable[[float, float], float], of: BySeed, other: BySeed) -> Mean:
    if common := [seed for seed in of if seed in other]:
        return mean([operation(of[seed], other[seed]) for seed in common])
    value = operation(fmean(of.values()), fmean(other.values()))
    return Mean(value, None, (value,), paired=False)


def _interval(value: float, error: float, freedom: float) -> tuple[float, float]:
    half = float(stats.t.ppf(0.975, freedom)) * error
    return value - half, value + half
