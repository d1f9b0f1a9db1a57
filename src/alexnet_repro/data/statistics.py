"""The mean image (§3) and the principal components of the RGB values (§5.1) of a training set."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


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


def measure(images: Iterable[npt.NDArray[np.uint8]]) -> Statistics:
    """Mean image and RGB principal components of images (height, width, 3), RGB 0–255.

    The 3×3 covariance is that of all pixels of all images around the mean colour (§5.1: "PCA on
    the set of RGB pixel values throughout the ImageNet training set").

    The paper adds multiples of the components "with magnitudes proportional to" the eigenvalues,
    and does not say for which scale of pixels. An eigenvalue is in squared pixel units: for pixels
    0–255 the noise would be ten times the range of a pixel. So the eigenvalues are those of pixels
    0–1, and the noise is then scaled with the pixels.
    """
    count = 0
    total: Floats | None = None
    products = np.zeros((3, 3))
    for image in images:
        pixels = image.astype(np.float64)
        total = pixels if total is None else total + pixels
        flat = pixels.reshape(-1, 3)
        products += flat.T @ flat
        count += 1
    if total is None:
        raise ValueError("no images to measure")
    mean_image = total / count
    mean_colour = mean_image.reshape(-1, 3).mean(axis=0)
    per_pixel = products / (count * mean_image.shape[0] * mean_image.shape[1])
    covariance = (per_pixel - np.outer(mean_colour, mean_colour)) / 255**2
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    return Statistics(mean_image, eigenvalues[::-1].clip(min=0), eigenvectors[:, ::-1])
