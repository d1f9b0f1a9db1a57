"""The mean image (§3) and the principal components of RGB values (§5.1) are numpy's."""

import json
import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from alexnet_repro.data.statistics import MEAN_IMAGE, Statistics, Sums


@pytest.fixture
def images() -> npt.NDArray[np.uint8]:
    """Correlated channels around different means."""
    random = np.random.default_rng(0)
    light = random.normal(size=(20, 9, 7, 1)) * (60, 45, 30)
    noise = random.normal(size=(20, 9, 7, 3)) * (5, 10, 20)
    pixels: npt.NDArray[np.uint8] = (light + noise + (120, 110, 90)).clip(0, 255).astype(np.uint8)
    return pixels


def counted(images: npt.NDArray[np.uint8]) -> Sums:
    sums = Sums.zero(*images.shape[1:3])
    sums.add(images)
    return sums


@pytest.fixture
def statistics(images: npt.NDArray[np.uint8]) -> Statistics:
    return Statistics.of(counted(images))


def test_mean_image_is_the_mean_of_each_pixel(
    images: npt.NDArray[np.uint8], statistics: Statistics
) -> None:
    assert statistics.mean_image.shape == (9, 7, 3)
    np.testing.assert_allclose(statistics.mean_image, images.mean(axis=0), rtol=1e-12)


def test_eigenvalues_are_those_of_the_covariance_of_pixels_0_to_1(
    images: npt.NDArray[np.uint8], statistics: Statistics
) -> None:
    covariance = np.cov(images.reshape(-1, 3).T / 255, bias=True)
    expected = np.linalg.eigvalsh(covariance)[::-1]
    np.testing.assert_allclose(statistics.eigenvalues, expected, rtol=1e-10)
    assert 0.01 < statistics.eigenvalues[0] < 0.25  # a variance of values between 0 and 1
    assert (np.diff(statistics.eigenvalues) < 0).all()


def test_eigenvectors_are_orthonormal_columns_that_diagonalize_the_covariance(
    images: npt.NDArray[np.uint8], statistics: Statistics
) -> None:
    covariance = np.cov(images.reshape(-1, 3).T / 255, bias=True)
    vectors = statistics.eigenvectors
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    for j in range(3):
        along = covariance @ vectors[:, j]
        np.testing.assert_allclose(along, statistics.eigenvalues[j] * vectors[:, j], atol=1e-12)


def test_the_first_component_is_the_light(statistics: Statistics) -> None:
    light = np.array([60, 45, 30]) / np.linalg.norm([60, 45, 30])
    assert abs(statistics.eigenvectors[:, 0] @ light) > 0.98


def test_images_of_one_colour_have_no_variance() -> None:
    found = Statistics.of(counted(np.full((4, 5, 5, 3), 200, dtype=np.uint8)))
    assert (found.mean_image == 200).all()
    assert (found.eigenvalues >= 0).all()
    np.testing.assert_allclose(found.eigenvalues, 0, atol=1e-9)


def test_saved_statistics_load_identically(statistics: Statistics, tmp_path: Path) -> None:
    values = json.loads(json.dumps(statistics.save(tmp_path)))
    loaded = Statistics.load(tmp_path, values)
    assert np.array_equal(loaded.mean_image, statistics.mean_image)
    assert np.array_equal(loaded.eigenvalues, statistics.eigenvalues)
    assert np.array_equal(loaded.eigenvectors, statistics.eigenvectors)


def test_the_same_statistics_are_saved_as_the_same_bytes(
    statistics: Statistics, tmp_path: Path
) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        statistics.save(tmp_path / name)
        files.append((tmp_path / name / MEAN_IMAGE).read_bytes())
    assert files[0] == files[1]


def test_a_file_with_pickles_is_not_loaded(statistics: Statistics, tmp_path: Path) -> None:
    values = statistics.save(tmp_path)
    np.save(tmp_path / MEAN_IMAGE, np.array([{"not": "numbers"}], dtype=object))
    with pytest.raises((ValueError, pickle.UnpicklingError), match="allow_pickle"):
        Statistics.load(tmp_path, values)


def test_no_images_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="no images to measure"):
        Statistics.of(Sums.zero(4, 4))


def test_parts_merge_to_the_same_sums_to_the_last_bit(images: npt.NDArray[np.uint8]) -> None:
    whole, merged = counted(images), Sums.zero(9, 7)
    for part in (images[:3], images[3:4], images[4:]):
        merged.merge(counted(part))
    assert merged.count == whole.count == 20
    assert np.array_equal(merged.pixels, whole.pixels)
    assert np.array_equal(merged.products, whole.products)


def test_sums_are_exact(images: npt.NDArray[np.uint8]) -> None:
    pixels = images.astype(object)
    products = [[int((pixels[..., a] * pixels[..., b]).sum()) for b in range(3)] for a in range(3)]
    assert counted(images).products.tolist() == products
    assert counted(images).pixels.tolist() == pixels.sum(axis=0).tolist()


def test_sums_of_millions_of_images_are_exact() -> None:
    white = counted(np.full((2, 16, 16, 3), 255, dtype=np.uint8))
    for _ in range(38):  # 2^39 images: the sums have more digits than 64-bit floats
        white.merge(white)
    assert white.products.tolist() == [[2**39 * 256 * 255**2] * 3] * 3
    black = counted(np.zeros((1, 16, 16, 3), dtype=np.uint8))
    black.products[0, 0] += np.uint64(1)
    white.merge(black)
    assert int(white.products[0, 0]) == 2**39 * 256 * 255**2 + 1


@pytest.mark.parametrize("size", [(5, 5), (5, 4), (1, 1)])
def test_odd_numbers_of_pixels_are_summed_too(size: tuple[int, int]) -> None:
    images = np.random.default_rng(3).integers(256, size=(3, *size, 3), dtype=np.uint8)
    flat = images.reshape(-1, 3).astype(int)
    assert counted(images).products.tolist() == (flat.T @ flat).tolist()


@pytest.mark.parametrize("value", [0, 1, 255, None])
def test_sums_of_large_images_are_exact(value: int | None) -> None:
    images = np.random.default_rng(4).integers(256, size=(2, 256, 256, 3), dtype=np.uint8)
    if value is not None:
        images[:] = value
    flat = images.reshape(-1, 3).astype(np.int64)
    assert counted(images).products.tolist() == (flat.T @ flat).tolist()
