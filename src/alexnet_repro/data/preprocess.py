"""From a photograph to a 256×256 image (§3)."""

from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]
Orientation = Literal["ignore", "apply"]


def shorter_side_and_centre(
    image: Image.Image, size: int, exif_orientation: Orientation = "ignore"
) -> Pixels:
    """Rescale so that the shorter side has ``size`` pixels and cut out the centre square (§3).

    "We first rescaled the image such that the shorter side was of length 256, and then cropped
    out the central 256×256 patch." Images of any mode become RGB: grey in all three channels, 16
    bits scaled to 8, transparency dropped.

    Args:
        image: as PIL opens it.
        size: pixels a side of the result.
        exif_orientation: ``apply`` turns the image upright as its EXIF data say; ``ignore`` takes
            the pixels as they are stored, as the 2012 program, torchvision and timm do.

    Returns:
        (size, size, 3), RGB, 0–255.

    Raises:
        ValueError: if the image is a program.
    """
    if image.format == "EPS":
        raise ValueError("PostScript is a program, which Pillow would have Ghostscript run")
    if exif_orientation == "apply":
        image = ImageOps.exif_transpose(image)
    image = _opaque(_eight_bit(image)).convert("RGB")
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


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, which Pillow's own conversion would clip at 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """A palette image with transparent colours as RGBA: Pillow warns of the direct way to RGB."""
    transparent = image.mode == "P" and "transparency" in image.info
    return image.convert("RGBA") if transparent else image
