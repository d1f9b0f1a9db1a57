"""Timings that can be compared: contenders take turns in one process, and medians are told."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Contender:
    """Something to time.

    Attributes:
        name: in table and record.
        run: one call of it; what it returns is dropped.
        items: what one call gets done, in ``unit`` of the benchmark (images, steps).
        before: called before each call of ``run``, without being timed.
    """

    name: str
    run: Callable[[], object]
    items: int = 1
    before: Callable[[], object] = lambda: None


@dataclass
class Timing:
    """The seconds of every round of one contender."""

    name: str
    items: int
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Items per second in the median round."""
        return self.items / self.median

    def times_faster_than(self, other: "Timing") -> float:
        """Median over the rounds of this rate divided by the other's, each of one round."""
        ratios = [
            (self.items / mine) / (other.items / theirs)
            for mine, theirs in zip(self.seconds, other.seconds, strict=True)
        ]
        return statistics.median(ratios)

    def row(self, baseline: "Timing | None" = None) -> dict[str, Any]:
        """For table and record: milliseconds a call with their range, rate, ratio to a baseline."""
        row = {
            "name": self.name,
            "milliseconds": round(1000 * self.median, 3),
            "fastest": round(1000 * min(self.seconds), 3),
            "slowest": round(1000 * max(self.seconds), 3),
            "per_second": round(self.rate, 1),
        }
        if baseline is not None:
            row["ratio"] = round(self.times_faster_than(baseline), 3)
        return row


def interleaved(contenders: Sequence[Contender], rounds: int, warm_up: int = 1) -> list[Timing]:
    """Time every contender once a round, in turn, after ``warm_up`` rounds that do not count.

    What disturbs the machine for a while disturbs all of them. Work that a call leaves running on
    a GPU is waited for.
    """
    timings = [Timing(contender.name, contender.items) for contender in contenders]
    for number in range(warm_up + rounds):
        for contender, timing in zip(contenders, timings, strict=True):
            contender.before()
            gc.collect()
            seconds = _seconds_on_gpu if torch.cuda.is_available() else _seconds
            taken = seconds(contender.run)
            if number >= warm_up:
                timing.seconds.append(taken)
    return timings


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _seconds_on_gpu(run: Callable[[], object]) -> float:
    """From an event before the call to one after all that it left the GPU to do."""
    torch.cuda.synchronize()
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    started.record()
    run()
    ended.record()
    ended.synchronize()
    return float(started.elapsed_time(ended)) / 1000
