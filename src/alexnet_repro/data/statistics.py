"""The mean image (§3) and the principal components of the RGB values (§5.1) of a training set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass
class Sums:
    """Running sums over images, from which the statistics follow; parts of a set add up.

    Attributes:
        count: number of images.
        pixels: (height, width, 3), sum of the images, RGB 0–255.
        products: (3, 3), sum over all pixels of the products of two of R, G and B.
    """

    count: int
    pixels: Floats
    products: Floats

    @classmethod
    def zero(cls, height: int, width: int) -> "Sums":
        return cls(0, np.zeros((height, width, 3)), np.zeros((3, 3)))

    def add(self, images: npt.NDArray[np.uint8]) -> None:
        """Count images (n, height, width, 3), RGB 0–255."""
        flat = images.reshape(-1, 3).astype(np.float64)
        self.count += len(images)
        self.pixels += images.sum(axis=0, dtype=np.uint32)
        self.products += flat.T @ flat

    def merge(self, other: "Sums") -> None:
        """Count what ``other`` counted.

        Sums of whole numbers below 2^53 are exact in any order: for 256×256 pixels, those of up to
        two million images.
        """
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

    def save(self, path: Path) -> None:
        np.savez(
            path,
            mean_image=self.mean_image,
            eigenvalues=self.eigenvalues,
            eigenvectors=self.eigenvectors,
        )

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["mean_image"], arrays["eigenvalues"], arrays["eigenvectors"])
