"""Means over seeds, their 95% intervals by Student's t, and what they could have shown."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev, variance

from scipy import optimize, stats

BySeed = Mapping[int | None, float]
POWER = 0.8


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: the mean.
        values: that it is the mean of.
        error: its standard error; None for one value, which has none.
        freedom: degrees of freedom of the error.
        paired: of a comparison: whether runs of equal seed were compared.
    """

    value: float
    values: tuple[float, ...]
    error: float | None = None
    freedom: float = math.inf
    paired: bool = True

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval."""
        if self.error is None:
            return None
        half = self._critical * self.error
        return self.value - half, self.value + half

    @property
    def detectable(self) -> float | None:
        """The smallest true effect that such data find at 95 % with a power of :data:`POWER`."""
        if not self.error:
            return self.error

        def lack(shift: float) -> float:
            found = stats.nct.sf(self._critical, self.freedom, (shift, -shift))
            return float(found.sum()) - POWER

        return self.error * float(optimize.brentq(lack, 0, 3 * self._critical))

    @property
    def _critical(self) -> float:
        return float(stats.t.ppf(0.975, self.freedom))

    def __sub__(self, other: float) -> "Mean":
        return replace(self, value=self.value - other)


def mean(values: Sequence[float]) -> Mean:
    """The mean of independent values."""
    if len(values) < 2:
        return Mean(fmean(values), tuple(values))
    error = stdev(values) / math.sqrt(len(values))
    return Mean(fmean(values), tuple(values), error, len(values) - 1)


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
    return replace(found, error=math.sqrt(sum(parts)), freedom=freedom)


def ratio(of: BySeed, over: BySeed) -> Mean:
    """The mean ratio of two experiments, by seed; of their means where no seeds are equal."""
    return _compared(operator.truediv, of, over)


def _compared(operation: Callable[[float, float], float], of: BySeed, other: BySeed) -> Mean:
    if common := [seed for seed in of if seed in other]:
        return mean([operation(of[seed], other[seed]) for seed in common])
    value = operation(fmean(of.values()), fmean(other.values()))
    return Mean(value, (value,), paired=False)
