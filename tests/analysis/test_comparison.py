"""Average precision beside its definition, written out one image at a time."""

import numpy as np
import pytest

from alexnet_repro.analysis.comparison import average_precision


def by_definition(relevant: np.ndarray) -> float:
    hits, total = 0, 0.0
    for place, is_relevant in enumerate(relevant, 1):
        if is_relevant:
            hits += 1
            total += hits / place
    return total / hits if hits else 0.0


def test_average_precision_is_that_of_its_definition() -> None:
    relevant = np.random.default_rng(0).random((20, 50)) < 0.2
    relevant[3] = False
    expected = [by_definition(row) for row in relevant]
    assert average_precision(relevant) == pytest.approx(expected)


def test_a_known_order() -> None:
    relevant = np.array([[True, False, True, False], [False, False, False, True]])
    assert average_precision(relevant) == pytest.approx([(1 + 2 / 3) / 2, 1 / 4])
