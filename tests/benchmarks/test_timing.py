"""Contenders take turns, warm-up does not count, and ratios are medians over rounds."""

import time

import pytest
import torch

from alexnet_repro.benchmarks.timing import Contender, Timing, interleaved


def test_contenders_take_turns_and_warm_up_does_not_count() -> None:
    calls: list[str] = []
    contenders = [Contender(name, lambda name=name: calls.append(name)) for name in "ab"]  # type: ignore[misc]
    timings = interleaved(contenders, rounds=3, warm_up=2)
    assert calls == ["a", "b"] * 5
    assert [len(timing.seconds) for timing in timings] == [3, 3]


def test_time_is_that_of_the_call() -> None:
    (timing,) = interleaved([Contender("sleep", lambda: time.sleep(0.02), items=4)], rounds=3)
    assert 0.02 <= timing.median < 0.2
    assert timing.rate == pytest.approx(4 / timing.median)


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    # In the third round the machine was ten times as slow for both.
    fast = Timing("fast", 10, [1.0, 1.1, 10.0])
    slow = Timing("slow", 10, [2.0, 2.2, 20.0])
    assert fast.times_faster_than(slow) == pytest.approx(2)
    assert slow.row(fast)["ratio"] == pytest.approx(0.5)
    assert fast.row() == {
        "name": "fast",
        "milliseconds": 1100,
        "fastest": 1000,
        "slowest": 10000,
        "per_second": 9.1,
    }


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_work_that_a_call_leaves_to_a_gpu_is_counted() -> None:
    matrix = torch.randn(4096, 4096, device="cuda")

    def multiply() -> None:
        for _ in range(50):
            torch.mm(matrix, matrix)

    (timing,) = interleaved([Contender("multiply", multiply)], rounds=3)
    assert timing.median > 50 * 2 * 4096**3 / 1e15  # no GPU does 10^15 operations in 32 bit
