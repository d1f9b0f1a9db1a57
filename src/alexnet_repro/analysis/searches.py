"""The images nearest to others: by features, by pixels and by short binary codes (§7.1)."""

from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt

from alexnet_repro.analysis.features import Vectors
from alexnet_repro.data.store import StoredSplit

Codes = npt.NDArray[np.uint8]
"""Binary codes, eight bits a byte: (images, bits / 8)."""

Order = npt.NDArray[np.int64]
"""Places of images: (queries, count), the nearest first."""

PIXEL_ROWS = 500
"""Images whose pixels are converted to numbers at a time."""


@dataclass(frozen=True)
class StoredPixels:
    """Images of a split, by ``places`` in it, whose pixels stay on disk until they are used."""

    split: StoredSplit
    places: Order

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice) -> Vectors:
        """(rows, size · size · 3), from −128 to 127: differences need no more than that."""
        images = np.stack([self.split.image(place) for place in self.places[rows]])
        return images.reshape(len(images), -1).astype(np.float32) - 128


def nearest_vectors(queries: Vectors, database: Vectors, count: int) -> Order:
    """The places of the ``count`` vectors at the least Euclidean distance from each query."""
    places: Order = faiss.knn(queries, database, count)[1]
    return places


def nearest_codes(queries: Codes, database: Codes, count: int) -> Order:
    """The places of the ``count`` codes that differ in the fewest bits from each query."""
    places: Order = faiss.knn_hamming(queries, database, count)[1]
    return places


def nearest_pixels(queries: Vectors, database: StoredPixels, count: int) -> Order:
    """The places of the ``count`` images at the least Euclidean distance from each query."""
    parts = (database[i : i + PIXEL_ROWS] for i in range(0, len(database), PIXEL_ROWS))
    distances = np.concatenate([faiss.pairwise_distances(queries, part) for part in parts], axis=1)
    places: Order = distances.argsort(axis=1, kind="stable")[:, :count]
    return places
