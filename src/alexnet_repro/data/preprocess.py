"""From a photograph to a 256×256 image (§3)."""

from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin

Pixels = npt.NDArray[np.uint8]
Orientation = Literal["ignore", "apply"]
LARGEST = (341, 281)
"""Tags of TIFF for the largest value of a pixel: SMaxSampleValue and MaxSampleValue."""


def shorter_side_and_centre(
    image: Image.Image, size: int, exif_orientation: Orientation = "ignore"
) -> Pixels:
    """Rescale so that the shorter side has ``size`` pixels and cut out the centre square (§3).

    "We first rescaled the image such that the shorter side was of length 256, and then cropped
    out the central 256×256 patch." Images of any mode become RGB: grey in all three channels, more
    bits than 8 scaled to 8, transparency dropped.

    Args:
        image: as PIL opens it.
        size: pixels a side of the result.
        exif_orientation: ``apply`` turns the image upright as its EXIF data say; ``ignore`` takes
            the pixels as they are stored, as the 2012 program, torchvision and timm do.

    Returns:
        (size, size, 3), RGB, 0–255.

    Raises:
        ValueError: if the image is a program, or its pixels are not on the scale of their format.
    """
    if image.format == "EPS":
        raise ValueError("PostScript is a program, which Pillow would have Ghostscript run")
    white = _white(image) if image.mode[0] in "IF" else None
    if exif_orientation == "apply":
        image = ImageOps.exif_transpose(image)
    image = _opaque(_eight_bit(image, white)).convert("RGB")
    width, height = image.size
    shorter = min(width, height)
    if shorter != size:
        # Cutting the square out before rescaling it gives the same pixels without rescaling
        # what is thrown away.
        left, top = (width - shorter) / 2, (height - shorter) / 2
        square = (left, top, left + shorter, top + shorter)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=square)
    else:
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return cast(Pixels, np.asarray(image))


def _eight_bit(image: Image.Image, white: float | None) -> Image.Image:
    """Grey of more bits in 8, which Pillow's own conversion would clip at 255.

    Raises:
        ValueError: if no pixel is near white, or some are beyond it: they are on another scale than
            the format says, as 12 bits in a file of 16, which would come out black.
    """
    if white is None:
        return image
    values = np.asarray(image)
    if white == 2**32 - 1:
        values = values.view(np.uint32)  # a type that Pillow does not have
    lowest, highest = values.min(), values.max()
    if not (lowest >= 0 and (highest == 0 or white / 16 <= highest <= white)):  # nor NaN
        raise ValueError(
            f"its pixels are {lowest:g} to {highest:g} where {white:g} is white: save it with 8 "
            "bits, scaled as it should look"
        )
    if image.mode == "F":
        return Image.fromarray((values * (255 / white)).round().astype(np.uint8))
    return Image.fromarray((values.astype(np.int64) * 256 // (int(white) + 1)).astype(np.uint8))


def _white(image: Image.Image) -> float:
    """The value of white: what a TIFF says of itself; else 1 for floats, or all bits set."""
    tags = getattr(image, "tag_v2", {})
    for tag in LARGEST:
        if tag in tags:
            return float(np.ravel(tags[tag])[0])
    if image.mode == "F":
        return 1.0
    signed = np.ravel(tags.get(TiffImagePlugin.SAMPLEFORMAT, 1))[0] == 2
    bits = int(np.ravel(tags.get(TiffImagePlugin.BITSPERSAMPLE, 16))[0])
    return float(2 ** (bits - int(signed)) - 1)


def _opaque(image: Image.Image) -> Image.Image:
    """A palette image with transparent colours as RGBA: Pillow warns of the direct way to RGB."""
    transparent = image.mode == "P" and "transparency" in image.info
    return image.convert("RGBA") if transparent else image
