"""Whether the columns' first layers specialize (§7.1, Fig. 3), as a measurement.

"The kernels on GPU 1 are largely color-agnostic, while the kernels on GPU 2 are largely
color-specific. This kind of specialization occurs during every run."
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import permutation_test

from alexnet_repro.base.errors import UsageError
from alexnet_repro.training.checkpoint import Trained, paper_network

Array = npt.NDArray[np.float64]
GREY = np.full(3, 3**-0.5)
"""The direction of grey among colours (R, G, B), of length 1."""

MEASURES = ("colour_saturation", "orientation_energy")


class Difference(NamedTuple):
    """How far the means of the two columns are apart, and how often chance does as much.

    Attributes:
        means: of the first and of the second column.
        p_value: share of random divisions of all kernels into two columns, equally large, whose
            means differ at least as much, in either direction.
    """

    means: tuple[float, float]
    p_value: float


def conv1_kernels(trained: Trained) -> Array:
    """The kernels of conv1: (kernels, 3, 11, 11), the first column's first."""
    weight = paper_network(trained).get_parameter("conv1.weight")
    kernels: Array = weight.detach().double().cpu().numpy()
    return kernels


def colour_saturation(kernels: Array) -> Array:
    """The share of each kernel's energy that is colour: 0 for grey, 1 for all but grey.

    Energy is the sum of squared weights; its grey part is that of every position's (R, G, B)
    projected onto the grey axis. Noise without any preference has 2/3 of it in colour, since two
    of three directions are.

    Args:
        kernels: (kernels, 3, height, width).

    Returns:
        (kernels,)
    """
    grey = np.einsum("c,kchw->khw", GREY, kernels)
    total = (kernels**2).sum(axis=(1, 2, 3))
    return 1 - _share((grey**2).sum(axis=(1, 2)), total)


def orientation_energy(kernels: Array) -> Array:
    """How far each kernel's pattern has one orientation: 0 for none, 1 for a plain grating.

    The structure tensor Σ ∇w ∇wᵀ over all places and colours has two eigenvalues λ₁ ≥ λ₂: the
    energy of the changes across the pattern's stripes and along them. This is
    (λ₁ − λ₂) / (λ₁ + λ₂). The gradient ∇w is that of the bilinear surface through four neighbouring
    weights, at its middle.

    Args:
        kernels: (kernels, 3, height, width).

    Returns:
        (kernels,)
    """
    down, right = np.diff(kernels, axis=2), np.diff(kernels, axis=3)
    y = (down[..., 1:] + down[..., :-1]) / 2
    x = (right[..., 1:, :] + right[..., :-1, :]) / 2
    yy, xx, xy = ((a * b).sum(axis=(1, 2, 3)) for a, b in ((y, y), (x, x), (x, y)))
    return _share(np.hypot(xx - yy, 2 * xy), xx + yy)


def _share(part: Array, whole: Array) -> Array:
    """``part / whole``, 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)


def columns_differ(values: Array, permutations: int, seed: int) -> Difference:
    """Test whether the halves of ``values`` (kernels,) have equal means, by permutation.

    That the columns do not specialize means that the kernels could as well have been dealt to them
    in any other way; the mean difference of the real division is compared with those of others.
    """
    first, second = np.split(values, 2)

    def difference(a: Array, b: Array, axis: int) -> Array:
        result: Array = a.mean(axis=axis) - b.mean(axis=axis)
        return result

    test = permutation_test(
        (first, second),
        difference,
        vectorized=True,
        n_resamples=permutations,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return Difference((float(first.mean()), float(second.mean())), float(test.pvalue))


def specialization(trained: Trained, permutations: int, seed: int) -> dict[str, Any]:
    """The measures of every kernel of conv1, and the test of each, for record and picture.

    Raises:
        UsageError: if the network has one column only.
    """
    if paper_network(trained).columns != 2:
        raise UsageError(f"{trained.path}: a network of one column has no columns to compare")
    kernels = conv1_kernels(trained)
    half = len(kernels) // 2
    measures = {}
    for name, measure in zip(MEASURES, (colour_saturation, orientation_energy), strict=True):
        values = measure(kernels)
        measures[name] = {
            "column_1": values[:half].round(6).tolist(),
            "column_2": values[half:].round(6).tolist(),
            **columns_differ(values, permutations, seed)._asdict(),
        }
    return {"kernels": len(kernels), "permutations": permutations, "seed": seed} | measures
