"""Colour and orientation of kernels, and the test of the columns, beside what theory says."""

from itertools import combinations

import numpy as np
import pytest

from alexnet_repro.analysis.kernels import (
    colour_saturation,
    columns_differ,
    orientation_energy,
)


def kernel(pattern: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """One kernel (1, 3, 11, 11): a pattern in one colour."""
    return np.array(colour)[None, :, None, None] * pattern[None, None]


def grating(degrees: float, cycles: float = 2.0) -> np.ndarray:
    y, x = np.mgrid[-5:6, -5:6] / 11
    angle = np.deg2rad(degrees)
    return np.cos(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)) + 0.3)


@pytest.mark.parametrize(
    ("colour", "saturation"),
    [
        ((1, 1, 1), 0.0),
        ((-2, -2, -2), 0.0),
        ((1, -1, 0), 1.0),
        ((1, 1, -2), 1.0),
        ((1, 0, 0), 2 / 3),  # a third of pure red is grey
        ((1, 1, 0), 1 / 3),
    ],
)
def test_saturation_is_the_share_of_energy_off_the_grey_axis(
    colour: tuple[float, float, float], saturation: float
) -> None:
    pattern = np.random.default_rng(0).normal(size=(11, 11))
    assert colour_saturation(kernel(pattern, colour)) == pytest.approx([saturation], abs=1e-12)


def test_noise_has_two_thirds_of_its_energy_in_colour() -> None:
    noise = np.random.default_rng(0).normal(size=(2000, 3, 11, 11))
    assert colour_saturation(noise).mean() == pytest.approx(2 / 3, abs=0.002)


@pytest.mark.parametrize("degrees", [0, 90])
def test_a_grating_that_fits_has_one_orientation(degrees: float) -> None:
    assert orientation_energy(kernel(grating(degrees), (1, 0.2, -1))) == pytest.approx(
        [1.0], abs=1e-9
    )


@pytest.mark.parametrize("degrees", [20, 45, 70, 130])
def test_gratings_of_every_angle_are_oriented_and_blobs_are_not(degrees: float) -> None:
    blob = np.exp(-((np.mgrid[-5:6, -5:6] / 2.0) ** 2).sum(axis=0))
    oriented = orientation_energy(kernel(grating(degrees), (1, 1, 1)))[0]
    assert oriented > 0.85
    assert orientation_energy(kernel(blob, (1, 1, 1)))[0] < 1e-9


def test_measures_do_not_depend_on_scale_and_an_empty_kernel_has_none() -> None:
    kernels = np.random.default_rng(1).normal(size=(4, 3, 11, 11))
    for measure in (colour_saturation, orientation_energy):
        assert measure(1000 * kernels) == pytest.approx(measure(kernels))
        assert measure(np.zeros((1, 3, 11, 11))).shape == (1,)
    assert orientation_energy(np.zeros((1, 3, 11, 11))) == [0]


def test_the_p_value_of_few_kernels_is_that_of_all_divisions() -> None:
    values = np.array([0.1, 0.25, 0.2, 0.4, 0.35, 0.9, 0.6, 0.8])
    observed = abs(values[:4].mean() - values[4:].mean())
    divisions = list(combinations(range(8), 4))
    as_far = 0
    for first in divisions:
        second = [i for i in range(8) if i not in first]
        as_far += abs(values[list(first)].mean() - values[second].mean()) >= observed - 1e-12
    tested = columns_differ(values, permutations=100_000, seed=0)
    assert tested.p_value == pytest.approx(as_far / len(divisions))
    assert tested.means == pytest.approx((values[:4].mean(), values[4:].mean()))


def test_p_values_of_columns_that_do_not_differ_are_uniform() -> None:
    rng = np.random.default_rng(2)
    p_values = [columns_differ(rng.random(32), 199, seed=i).p_value for i in range(200)]
    assert 0.02 <= np.mean(np.array(p_values) < 0.1) <= 0.18


def test_columns_that_differ_are_found() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(0.2, 0.1, 48), rng.normal(0.6, 0.1, 48)])
    assert columns_differ(values, 9999, seed=0).p_value == pytest.approx(2e-4)
