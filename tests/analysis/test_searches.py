"""Every way to search beside brute force in NumPy, in 64 bit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet_repro.analysis.codes import Autoencoder, autoencoder_codes, binary
from alexnet_repro.analysis.searches import (
    StoredPixels,
    nearest_codes,
    nearest_pixels,
    nearest_vectors,
)

RNG = np.random.default_rng(0)
DATABASE = RNG.normal(size=(300, 64)).astype(np.float32)
QUERIES = RNG.normal(size=(10, 64)).astype(np.float32)


def distances(queries: np.ndarray, database: np.ndarray) -> np.ndarray:
    difference = queries[:, None].astype(np.float64) - database[None].astype(np.float64)
    return np.sqrt((difference**2).sum(axis=2))


def test_euclidean_neighbours_are_those_of_brute_force() -> None:
    nearest = nearest_vectors(QUERIES, DATABASE, 300)
    found = np.take_along_axis(distances(QUERIES, DATABASE), nearest, axis=1)
    assert found == pytest.approx(np.sort(distances(QUERIES, DATABASE), axis=1), rel=1e-5)
    assert (np.sort(nearest, axis=1) == np.arange(300)).all()


def test_hamming_neighbours_come_in_the_order_of_differing_bits() -> None:
    codes, of_queries = (np.packbits(vectors > 0, axis=1) for vectors in (DATABASE, QUERIES))
    nearest = nearest_codes(of_queries, codes, 300)
    differing = ((QUERIES[:, None] > 0) != (DATABASE[None] > 0)).sum(axis=2)
    found = np.take_along_axis(differing, nearest, axis=1)
    assert (np.sort(nearest, axis=1) == np.arange(300)).all()
    assert (found == np.sort(differing, axis=1)).all()


class Noise:
    """A split of 40 images of 8×8 pixels in memory."""

    size = 8

    def __init__(self, seed: int) -> None:
        shape = (40, 8, 8, 3)
        self.pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    def image(self, index: int) -> np.ndarray:
        return self.pixels[index]


def test_pixel_neighbours_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet_repro.analysis.searches.PIXEL_ROWS", 7)
    database, queries = Noise(0), Noise(1)
    order = np.random.default_rng(2).permutation(40)
    asked = StoredPixels(queries, np.arange(40))[5:9]
    expected = distances(
        queries.pixels.reshape(40, -1)[5:9], database.pixels[order].reshape(40, -1)
    ).argsort(axis=1)
    assert (nearest_pixels(asked, StoredPixels(database, order), 40) == expected).all()


def test_the_binary_layer_passes_the_gradient_of_the_logistic_function() -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    binary(x).sum().backward()
    straight = x.detach().clone().requires_grad_()
    straight.sigmoid().sum().backward()
    assert torch.equal(binary(x.detach()), (x > 0).double())
    assert x.grad is not None
    torch.testing.assert_close(x.grad, straight.grad)


def test_autoencoder_codes_keep_clusters_apart_and_follow_the_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(4, 32))
    labels = np.arange(200) % 4
    vectors = (centres[labels] + 0.3 * rng.normal(size=(200, 32))).astype(np.float32)
    settings = Autoencoder(hidden=32, noise=1.0, lr=0.01, epochs=8, batch_size=32)
    database, queries = autoencoder_codes(vectors[:160], vectors[160:], 16, 0, settings, "cpu")
    nearest = nearest_codes(queries, database, 10)
    assert (labels[:160][nearest] == labels[160:, None]).mean() > 0.95
    again, _ = autoencoder_codes(vectors[:160], vectors[160:], 16, 0, settings, "cpu")
    other, _ = autoencoder_codes(vectors[:160], vectors[160:], 16, 1, settings, "cpu")
    assert (again == database).all()
    assert (other != database).any()
