"""Data augmentation and the views at test (§5.1).

What is random is drawn where images are read, as a function of (seed, epoch, image) alone, so that
a resumed run, or one with other workers or columns, sees the same pixels. What is arithmetic
happens on the device, for the whole batch at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alexnet_repro.base.build import Count, Fraction, NonNegative, Positive
from alexnet_repro.data.statistics import Statistics

Integers = npt.NDArray[np.int64]
COLOUR_STREAM = 3


@dataclass(frozen=True)
class AugmentOptions:
    """What is drawn for a training image, and how its mean is subtracted: §5.1 as the paper has it.

    Attributes:
        random_crop: false puts every crop in the centre.
        reflection: false reflects none.
        crop_chunk: this many consecutive images share crop and reflection (the 2012 program: 32).
        mean_crop: ``same_place`` subtracts from every crop the mean of the pixels it was cut from
            (the paper), ``centre`` always the mean image's centre (the 2012 program).
        colour_pca: standard deviation of the random factors α; 0 switches off.
        colour_magnitude: multiples of the ``eigenvalue`` of each component (the paper) or of the
            ``standard_deviation`` along it (the program).
        colour_divisor: image plus noise is divided by it (the program: 1.1) while noise is on.
        resized_crop: the least share of an image's area that a random crop takes, which is then
            resized (torchvision's RandomResizedCrop); None for crops of one size (the paper).
        mixup: α of the Beta distribution by which each image is mixed with another one of its batch
            (Zhang et al. 2018); 0 mixes none.
        label_smoothing: share of a label that is spread over all classes (Szegedy et al. 2016).

    Raises:
        ValueError: if the mean of resized crops is to be that of the place they were cut from.
    """

    random_crop: bool = True
    reflection: bool = True
    crop_chunk: Count = 1
    mean_crop: Literal["same_place", "centre"] = "same_place"
    colour_pca: NonNegative = 0.1
    colour_magnitude: Literal["eigenvalue", "standard_deviation"] = "eigenvalue"
    colour_divisor: Positive = 1.0
    resized_crop: Fraction | None = None
    mixup: NonNegative = 0.0
    label_smoothing: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.resized_crop is not None and self.mean_crop != "centre":
            raise ValueError("resized_crop: crops of any size have one mean; add mean_crop=centre")


PAPER = AugmentOptions()


@dataclass(frozen=True)
class Draws:
    """The random choices for a batch of B images.

    Attributes:
        offset: (B, 2), top and left pixel of each crop.
        reflect: (B,), whether the crop is reflected left to right.
        colour: (B, 3), standard normal, one for each principal component.
    """

    offset: Integers
    reflect: npt.NDArray[np.bool_]
    colour: npt.NDArray[np.float32]


def _uniform(seed: int, epoch: int, ids: Integers, stream: int) -> npt.NDArray[np.float64]:
    """Uniform in (0, 1), a pure function of its arguments (the finalizer of splitmix64)."""
    with np.errstate(over="ignore"):
        x = np.zeros(ids.shape, dtype=np.uint64)
        for word in (seed, epoch, stream, ids):
            x = (x + np.asarray(word).astype(np.uint64) + np.uint64(1)) * np.uint64(
                0x9E3779B97F4A7C15
            )
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
    uniform: npt.NDArray[np.float64] = ((x >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    return uniform


@contextmanager
def drawn_from(*numbers: int) -> Iterator[None]:
    """What torch draws within it is a function of these numbers alone."""
    with torch.random.fork_rng(devices=()):
        # A generator reads only the low 32 bits of a seed: mix all numbers into them.
        mixed = np.random.SeedSequence(numbers).generate_state(1)[0]
        torch.default_generator.manual_seed(int(mixed))
        yield


def draw(
    seed: int,
    epoch: int,
    indices: Integers,
    positions: Integers,
    margin: int,
    options: AugmentOptions = PAPER,
) -> Draws:
    """The random choices for the images ``indices`` at ``positions`` of the epoch's order.

    Args:
        margin: stored size minus crop size in pixels: offsets run from 0 to ``margin``.
    """
    chunk = options.crop_chunk
    crop_ids = positions // chunk if chunk > 1 else indices
    if options.random_crop:
        # Of 256 and 224 the paper says "×2048" for 32·32·2; 33 offsets a side fit, all are used.
        top, left = (
            (_uniform(seed, epoch, crop_ids, axis) * (margin + 1)).astype(np.int64)
            for axis in (0, 1)
        )
    else:
        top = left = np.full(len(indices), margin // 2, dtype=np.int64)
    reflect = _uniform(seed, epoch, crop_ids, 2) < 0.5
    if not options.reflection:
        reflect = np.zeros_like(reflect)
    # Box–Muller: two uniform numbers make one normal number.
    radius, angle = (
        np.stack(
            [_uniform(seed, epoch, indices, COLOUR_STREAM + 2 * c + part) for c in range(3)], axis=1
        )
        for part in (0, 1)
    )
    colour = np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)
    return Draws(np.stack([top, left], axis=1), reflect, colour.astype(np.float32))


class Augmentation(nn.Module):
    """Mean subtraction, reflection, colour noise and test views, on the device of the images.

    Args:
        statistics: of the training set.
        crop_size: height and width of a crop in stored pixels.
        input_size: height and width that the network reads; larger than ``crop_size`` only for
            sets of small images, which are stored small and enlarged here (bilinear).
    """

    mean: Tensor
    mean_rows: Tensor
    components: Tensor

    def __init__(
        self,
        statistics: Statistics,
        crop_size: int,
        input_size: int,
        options: AugmentOptions = PAPER,
    ) -> None:
        super().__init__()
        self.crop_size, self.input_size = crop_size, input_size
        self.mean_crop, self.colour_divisor = options.mean_crop, options.colour_divisor
        self.colour_noise = options.colour_pca > 0
        magnitude = statistics.eigenvalues
        if options.colour_magnitude == "standard_deviation":
            magnitude = np.sqrt(magnitude)
        # Row j is what a unit draw adds along component j, in pixels 0–255.
        components = 255 * options.colour_pca * (statistics.eigenvectors * magnitude).T
        self.register_buffer("components", torch.tensor(components, dtype=torch.float32))
        self.register_buffer("mean", torch.tensor(statistics.mean_image, dtype=torch.float32))
        # The mean image and its reflection, with the three values of a pixel in one row.
        self.register_buffer("mean_rows", torch.stack([self.mean, self.mean.flip(1)]).flatten(2))

    def training_view(
        self, crops: Tensor, offset: Tensor, reflect: Tensor, colour: Tensor
    ) -> Tensor:
        """Crops (B, crop, crop, 3) uint8 and their draws → (B, 3, input, input) float."""
        noise = colour.to(self.components) @ self.components if self.colour_noise else None
        # Image by image, what is read stays in a processor's cache; the batch at once suits a GPU,
        # where every operation costs a launch.
        centred = self._image_by_image if crops.device.type == "cpu" else self._batch_at_once
        images = centred(crops, offset, reflect, noise)
        if noise is not None and self.colour_divisor != 1:
            images /= self.colour_divisor
        return enlarged(images.permute(0, 3, 1, 2), self.input_size)

    def _image_by_image(
        self, crops: Tensor, offset: Tensor, reflect: Tensor, noise: Tensor | None
    ) -> Tensor:
        size, width = self.crop_size, self.mean.shape[1]
        images = torch.empty(crops.shape, dtype=torch.float32)
        rows, means = images.flatten(2).numpy(), self.mean_rows.numpy()
        # A row of pixels at a time: broadcasting over the three values of a pixel is slow.
        noise_rows = None if noise is None else noise.repeat(1, size).numpy()
        centre = self._centre_mean().flatten(1).numpy()
        places = zip(offset.tolist(), reflect.tolist(), strict=True)
        for i, (crop, ((top, left), reflected)) in enumerate(zip(crops, places, strict=True)):
            left = width - size - left if reflected else left
            mean = means[int(reflected), top : top + size, 3 * left : 3 * (left + size)]
            if self.mean_crop == "centre":
                mean = centre
            pixels = (crop.flip(1) if reflected else crop).flatten(1).numpy()
            # NumPy converts and subtracts in one pass, torch in two.
            np.subtract(pixels, mean, out=rows[i], dtype=np.float32)
            if noise_rows is not None:
                rows[i] += noise_rows[i]
        return images

    def _batch_at_once(
        self, crops: Tensor, offset: Tensor, reflect: Tensor, noise: Tensor | None
    ) -> Tensor:
        reflected = torch.where(reflect[:, None, None, None], crops.flip(2), crops)
        if self.mean_crop == "same_place":
            # A pixel's mean is that of its place before the reflection: cut the reflected mean
            # image where the reflected crop lies.
            size, width = self.crop_size, self.mean.shape[1]
            windows = self.mean_rows.unfold(1, size, 1).unfold(2, 3 * size, 3)
            top, left = offset.unbind(1)
            left = torch.where(reflect, width - size - left, left)
            mean = windows[reflect.long(), top, left].view(crops.shape)
        else:
            mean = self._centre_mean()
        images = reflected - mean
        return images if noise is None else images.add_(noise[:, None, None, :])

    def test_views(self, images: Tensor, crops: Literal["centre", "ten"]) -> Iterator[Tensor]:
        """Stored images (B, size, size, 3) uint8 → one view, or ten, each (B, 3, input, input).

        The centre view comes first; of ten, the four corners follow, then the reflections of the
        five in the same order.
        """
        for top, left, reflect in self.test_places(images.shape[1], crops):
            window = slice(top, top + self.crop_size), slice(left, left + self.crop_size)
            view = images[:, window[0], window[1]].float()
            if self.mean_crop == "same_place":
                view -= self.mean[window]
            if reflect:
                view = view.flip(2)
            if self.mean_crop == "centre":
                view -= self._centre_mean()
            yield enlarged(view.permute(0, 3, 1, 2), self.input_size)

    def test_places(
        self, size: int, crops: Literal["centre", "ten"]
    ) -> list[tuple[int, int, bool]]:
        """Where the views of :meth:`test_views` lie in images of ``size`` pixels a side.

        Top and left pixel of each, and whether it is reflected.
        """
        margin, half = size - self.crop_size, (size - self.crop_size) // 2
        if crops == "centre":
            return [(half, half, False)]
        corners = [(0, 0), (0, margin), (margin, 0), (margin, margin)]
        return [
            (top, left, reflect)
            for reflect in (False, True)
            for top, left in [(half, half), *corners]
        ]

    def _centre_mean(self) -> Tensor:
        half = (self.mean.shape[0] - self.crop_size) // 2
        return self.mean[half : half + self.crop_size, half : half + self.crop_size]


def enlarged(images: Tensor, size: int) -> Tensor:
    """Images (B, 3, crop, crop) with ``size`` pixels a side, which the network reads: bilinear."""
    if images.shape[-1] == size:
        return images
    return nn.functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)
