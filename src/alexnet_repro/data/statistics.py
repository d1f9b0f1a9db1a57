"""The mean image (§3) and the principal components of the RGB values (§5.1) of a training set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.uint64]

MIDDLE = 128
"""Subtracted from pixels while they are summed, so that the products are small numbers."""

WITH_BYTES = hasattr(torch, "_int_mm") and torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether a product of matrices of bytes is faster than one of 32-bit floats: three times as fast,
with the instructions for it."""

MEAN_IMAGE = "mean_image.npy"


@dataclass
class Sums:
    """Running sums over images, from which the statistics follow; parts of a set add up.

    They are whole numbers, so they are exact, in whatever order parts are added.

    Attributes:
        count: number of images.
        pixels: (height, width, 3), sum of the images, RGB 0–255.
        products: (3, 3), sum over all pixels of the products of two of R, G and B.
    """

    count: int
    pixels: Integers
    products: Integers

    @classmethod
    def zero(cls, height: int, width: int) -> "Sums":
        return cls(0, np.zeros((height, width, 3), np.uint64), np.zeros((3, 3), np.uint64))

    def merge(self, other: "Sums") -> None:
        """Count what ``other`` counted."""
        self.count += other.count
        self.pixels += other.pixels
        self.products += other.products

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, count=self.count, pixels=self.pixels, products=self.products)

    @classmethod
    def load(cls, path: Path) -> "Sums":
        with np.load(path, allow_pickle=False) as arrays:
            return cls(int(arrays["count"]), arrays["pixels"], arrays["products"])


class RunningSums:
    """The sums of images that are counted one by one, each while it is in a processor's cache.

    Args:
        height, width: of every image.
    """

    # 16 bits hold the sum of 257 pixels.
    most = 257

    def __init__(self, height: int, width: int) -> None:
        self._closed = Sums.zero(height, width)
        self._recent = np.zeros((height, width, 3), dtype=np.uint16)
        self._count = 0
        self._centred = np.empty((height, width, 3), dtype=np.int8)
        # Several pixels to a row: a product of 12 or 48 columns takes a third of the time of one of
        # 3; the blocks on its diagonal are what is sought.
        pixels = height * width
        # 32-bit integers hold the sum of fewer than 2¹⁷ products of two bytes.
        if WITH_BYTES and pixels % 16 == 0 and pixels // 16 < 2**17:
            self._together, self._multiply = 16, _products_of_bytes
        else:
            self._together, self._multiply = (4 if pixels % 4096 == 0 else 1), _products_of_floats
        self._products = np.zeros((3 * self._together,) * 2, dtype=np.int64)

    def add(self, image: npt.NDArray[np.uint8]) -> None:
        """Count an image (height, width, 3), RGB 0–255."""
        np.add(self._recent, image, out=self._recent)
        np.bitwise_xor(image, np.uint8(MIDDLE), out=self._centred.view(np.uint8))
        self._products += self._multiply(self._centred.reshape(-1, 3 * self._together))
        self._count += 1
        if self._count == self.most:
            self._close()

    def sums(self) -> Sums:
        """Of the images so far."""
        self._close()
        return self._closed

    def _close(self) -> None:
        blocks = self._products.reshape(self._together, 3, self._together, 3)
        centred = np.einsum("iaib->ab", blocks)
        colour = self._recent.sum(axis=(0, 1), dtype=np.int64)
        pixels = self._count * self._recent.shape[0] * self._recent.shape[1]
        # Σ (x − m)(y − m) = Σ xy − m (Σx + Σy) + m² · pixels
        products = centred + MIDDLE * (colour[:, None] + colour) - MIDDLE**2 * pixels
        self._closed.merge(
            Sums(self._count, self._recent.astype(np.uint64), products.astype(np.uint64))
        )
        self._recent[:], self._products[:], self._count = 0, 0, 0


def _products_of_bytes(rows: npt.NDArray[np.int8]) -> npt.NDArray[Any]:
    """Sum over rows of the products of two columns each."""
    bytes_ = torch.from_numpy(rows)
    products: npt.NDArray[Any] = torch._int_mm(bytes_.T, bytes_).numpy()
    return products


def _products_of_floats(rows: npt.NDArray[np.int8]) -> npt.NDArray[Any]:
    """The same; 32-bit floats hold the sum of 1024 products exactly."""
    summed = 1024 if len(rows) % 1024 == 0 else 1
    floats = rows.astype(np.float32).reshape(-1, summed, rows.shape[1])
    products: npt.NDArray[Any] = (floats.transpose(0, 2, 1) @ floats).sum(axis=0, dtype=np.float64)
    return products.astype(np.int64)


@dataclass(frozen=True)
class Statistics:
    """What preprocessing and augmentation need to know about the training set.

    Attributes:
        mean_image: (height, width, 3), RGB 0–255: "the mean activity over the training set" of
            each pixel.
        eigenvalues: (3,) of the covariance of RGB pixel values 0–1, largest first.
        eigenvectors: (3, 3), column j belongs to eigenvalue j.
    """

    mean_image: Floats
    eigenvalues: Floats
    eigenvectors: Floats

    @property
    def mean_colour(self) -> Floats:
        """(3,), mean RGB value, 0–255."""
        colour: Floats = self.mean_image.mean(axis=(0, 1))
        return colour

    @property
    def covariance(self) -> Floats:
        """(3, 3), of RGB pixel values 0–1."""
        covariance: Floats = self.eigenvectors * self.eigenvalues @ self.eigenvectors.T
        return covariance

    @classmethod
    def of(cls, sums: Sums) -> "Statistics":
        """Mean image and RGB principal components of the images that ``sums`` counted.

        The 3×3 covariance is that of all pixels of all images around the mean colour (§5.1: "PCA
        on the set of RGB pixel values throughout the ImageNet training set").

        The paper adds multiples of the components "with magnitudes proportional to" the
        eigenvalues, and does not say for which scale of pixels. An eigenvalue is in squared pixel
        units: for pixels 0–255 the noise would be ten times the range of a pixel. So the
        eigenvalues are those of pixels 0–1, and the noise is then scaled with the pixels.
        """
        if sums.count == 0:
            raise ValueError("no images to measure")
        mean_image = sums.pixels / sums.count
        mean_colour = mean_image.reshape(-1, 3).mean(axis=0)
        per_pixel = sums.products / (sums.count * mean_image.shape[0] * mean_image.shape[1])
        covariance = (per_pixel - np.outer(mean_colour, mean_colour)) / 255**2
        eigenvalues, eigenvectors = np.linalg.eigh(covariance)
        return cls(mean_image, eigenvalues[::-1].clip(min=0), eigenvectors[:, ::-1])

    def save(self, directory: Path) -> dict[str, Any]:
        """Write the mean image into ``directory``; returns the rest as plain values."""
        np.save(directory / MEAN_IMAGE, self.mean_image)
        return {
            "mean_colour": self.mean_colour.tolist(),
            "covariance": self.covariance.tolist(),
            "eigenvalues": self.eigenvalues.tolist(),
            "eigenvectors": self.eigenvectors.tolist(),
        }

    @classmethod
    def load(cls, directory: Path, values: Mapping[str, Any]) -> "Statistics":
        """Read what :meth:`save` wrote and returned.

        Raises:
            ValueError: if the shapes are not those of statistics.
        """
        mean_image = np.load(directory / MEAN_IMAGE, allow_pickle=False)
        eigenvalues = np.array(values["eigenvalues"], dtype=np.float64)
        eigenvectors = np.array(values["eigenvectors"], dtype=np.float64)
        shapes = mean_image.shape[2:], eigenvalues.shape, eigenvectors.shape
        if shapes != ((3,), (3,), (3, 3)) or mean_image.dtype != np.float64:
            raise ValueError(f"{MEAN_IMAGE} or the principal components have another shape")
        return cls(mean_image, eigenvalues, eigenvectors)
