"""From a photograph to a 256×256 image (§3)."""

from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def shorter_side_and_centre(image: Image.Image, size: int) -> Pixels:
    """Rescale so that the shorter side has ``size`` pixels and cut out the centre square (§3).

    "We first rescaled the image such that the shorter side was of length 256, and then cropped
    out the central 256×256 patch." Greyscale and palette images become RGB.

    Returns:
        (size, size, 3), RGB, 0–255.
    """
    image = image.convert("RGB")
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
