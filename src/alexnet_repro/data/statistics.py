"""The mean image (§3) and the principal components of the RGB values (§5.1) of a training set."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alexnet_repro.base.files import write_bytes

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.uint64]

MEAN_IMAGE = "mean_image.npy"


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a ``.npy`` file, so that ``path`` holds either what it held before or all of it."""
    content = io.BytesIO()
    np.save(content, array)
    write_bytes(path, content.getvalue())


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

    def add(self, images: npt.NDArray[np.uint8]) -> None:
        """Count images (number, height, width, 3), RGB 0–255."""
        self.count += len(images)
        self.pixels += images.sum(axis=0, dtype=np.uint32)
        # Four pixels to a row: a product of 12 columns takes half the time of one of 3; the blocks
        # on its diagonal are what is sought.
        together = 4 if images[0, ..., 0].size % 4 == 0 else 1
        products = np.zeros((3 * together, 3 * together))
        for image in images:
            rows = image.reshape(-1, 3 * together).astype(np.float64)
            products += rows.T @ rows
        blocks = products.reshape(together, 3, together, 3)
        self.products += np.einsum("iaib->ab", blocks).astype(np.uint64)

    def merge(self, other: "Sums") -> None:
        """Count what ``other`` counted."""
        self.count += other.count
        self.pixels += other.pixels
        self.products += other.products


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
        save_array(directory / MEAN_IMAGE, self.mean_image)
        return {
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
