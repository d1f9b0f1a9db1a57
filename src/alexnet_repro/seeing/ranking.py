"""How good an order of images by likeness is: precision at k and average precision."""

import numpy as np
import numpy.typing as npt

Order = npt.NDArray[np.int64]
Relevant = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]


def precision_at(relevant: Relevant, k: int) -> Array:
    """The share of the first k that is relevant: (queries, images) in order → (queries,)."""
    precision: Array = relevant[:, :k].mean(axis=1)
    return precision


def average_precision(relevant: Relevant) -> Array:
    """The mean, over the relevant images, of the precision at the place of each.

    Args:
        relevant: (queries, images), all images in order of likeness.

    Returns:
        (queries,), 0 where nothing is relevant.
    """
    places = np.arange(1, relevant.shape[1] + 1)
    precisions = relevant.cumsum(axis=1) / places
    count = relevant.sum(axis=1)
    total: Array = (precisions * relevant).sum(axis=1)
    mean: Array = np.divide(total, count, out=np.zeros(len(relevant)), where=count > 0)
    return mean


def by_class(values: Array, labels: npt.NDArray[np.int64], classes: int) -> Array:
    """The mean of ``values`` (queries,) over each class's queries; nan where there are none."""
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, values, minlength=classes)
    mean: Array = np.divide(sums, counts, out=np.full(classes, np.nan), where=counts > 0)
    return mean
