"""Ways to find like images: by features, by pixels and by short codes (§7.1).

Every way is a function from queries to an order of the database. The database is in an order of its
own, drawn at random, since images at the same distance (Hamming distances are often the same) stay
in it: sorted by class, it would favour some.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from alexnet_repro.data.store import StoredSplit
from alexnet_repro.seeing.features import Vectors
from alexnet_repro.seeing.ranking import Order

Codes = npt.NDArray[np.uint8]
"""Binary codes, eight bits a byte: (images, bits / 8)."""

PIXEL_ROWS = 500
"""Images whose pixels are converted to numbers at a time."""


@dataclass(frozen=True)
class Search:
    """A way to search a database.

    Attributes:
        name: in table and picture.
        bits: what is kept of an image of the database.
        nearest: (queries, count) → the places of the ``count`` nearest images, (queries, count).
        queries: how many there are.
    """

    name: str
    bits: int
    queries: int
    nearest: Callable[[slice, int], Order]


def _with_faiss(name: str, bits: int, index: Any, queries: npt.NDArray[Any]) -> Search:
    """The search of a faiss index that holds the database."""
    return Search(
        name,
        bits,
        len(queries),
        lambda rows, count: np.asarray(index.search(queries[rows], count)[1]),
    )


def by_distance(name: str, database: Vectors, queries: Vectors) -> Search:
    """Exhaustive search by Euclidean distance between vectors, with faiss."""
    index = faiss.IndexFlatL2(database.shape[1])
    index.add(database)
    return _with_faiss(name, 32 * database.shape[1], index, queries)


def by_hamming_distance(name: str, database: Codes, queries: Codes) -> Search:
    """Exhaustive search by the number of different bits, with faiss's binary index."""
    bits = 8 * database.shape[1]
    index = faiss.IndexBinaryFlat(bits)
    index.add(database)
    return _with_faiss(name, bits, index, queries)


def by_product_quantization(name: str, database: Vectors, queries: Vectors, bits: int) -> Search:
    """A product quantizer of faiss: a byte for each of bits / 8 pieces of the vector.

    With fewer than the 256 images that a byte tells apart, it is half a byte for each of twice as
    many pieces. Queries are not quantized: distances are from a vector to a code.
    """
    piece = 8 if len(database) >= 256 else 4
    to_add = ((0, 0), (0, -database.shape[1] % (bits // piece)))
    database, queries = np.pad(database, to_add), np.pad(queries, to_add)
    index = faiss.IndexPQ(database.shape[1], bits // piece, piece)
    # faiss would like 39 vectors for each of the 256 centroids, and says so at length.
    index.pq.cp.min_points_per_centroid = 1
    index.train(database)
    index.add(database)
    return _with_faiss(name, bits, index, queries)


def by_pixels(name: str, database: "Pictures", queries: "Pictures") -> Search:
    """Exhaustive search by Euclidean distance between the stored pixels, RGB 0–255."""

    def nearest(rows: slice, count: int) -> Order:
        distances = pixel_distances(queries.pixels(range(*rows.indices(len(queries)))), database)
        order: Order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        return order

    bits = 8 * 3 * database.split.size**2
    return Search(name, bits, len(queries), nearest)


@dataclass(frozen=True)
class Pictures:
    """Images of a split, by ``places`` in it, whose pixels stay on disk until they are used."""

    split: StoredSplit
    places: Order

    def __len__(self) -> int:
        return len(self.places)

    def pixels(self, rows: range) -> torch.Tensor:
        """(rows, size · size · 3), from −128 to 127: differences need no more than that."""
        images = np.stack([self.split.image(self.places[row]) for row in rows])
        return torch.from_numpy(images).flatten(1).float() - 128


def pixel_distances(queries: torch.Tensor, database: Pictures) -> Vectors:
    """Squared Euclidean distances (queries, images), some of the database at a time."""
    parts = []
    own = queries.square().sum(1, keepdim=True)
    for first in range(0, len(database), PIXEL_ROWS):
        others = database.pixels(range(first, min(first + PIXEL_ROWS, len(database))))
        parts.append(own + others.square().sum(1) - 2 * queries @ others.T)
    distances: Vectors = torch.cat(parts, dim=1).numpy()
    return distances
