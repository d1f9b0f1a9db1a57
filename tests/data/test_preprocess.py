"""Images become 256×256 as in §3: shorter side 256, central square, nothing else."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, TiffImagePlugin

from alexnet_repro.data.preprocess import shorter_side_and_centre

Pixels = npt.NDArray[np.uint8]


def photograph(width: int, height: int) -> Image.Image:
    """A smooth picture with a different gradient in every channel and a bright disk."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    disk = 60 / (1 + np.exp(80 * (np.hypot(x - 0.4, y - 0.3) - 0.15)))
    channels = [90 * x + disk, 100 * y + disk + 30, 60 * x * y + 80 * (1 - x) + disk]
    return Image.fromarray(np.stack(channels, axis=2).clip(0, 255).astype(np.uint8))


def rescaled_then_cropped(image: Image.Image, size: int) -> Pixels:
    """§3, to the letter."""
    shorter = min(image.size)
    width, height = (round(side * size / shorter) for side in image.size)
    rescaled = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(rescaled.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize(
    ("width", "height"),
    [(768, 512), (512, 768), (512, 512), (128, 192), (192, 128), (1024, 256), (256, 1024)],
)
def test_equals_rescaling_and_then_cropping(width: int, height: int) -> None:
    # The longer side also becomes a whole and even number of pixels here.
    image = photograph(width, height)
    found = shorter_side_and_centre(image, 256)
    assert found.shape == (256, 256, 3)
    assert found.dtype == np.uint8
    difference = found.astype(int) - rescaled_then_cropped(image, 256)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("width", "height"), [(500, 375), (375, 500), (333, 500), (257, 256), (255, 640), (90, 91)]
)
def test_is_within_half_a_pixel_of_rescaling_and_then_cropping(width: int, height: int) -> None:
    image = photograph(width, height)
    found = shorter_side_and_centre(image, 256)
    expected = rescaled_then_cropped(image, 256).astype(int)
    # Twice what half a pixel makes of the picture.
    step = max(np.abs(np.diff(expected, axis=axis)).mean() for axis in (0, 1))
    assert np.abs(found - expected).mean() < step
    assert np.abs(found - expected).mean() < 1


@pytest.mark.parametrize(("width", "height"), [(256, 256), (256, 300), (301, 256)])
def test_a_shorter_side_of_256_is_not_resampled(width: int, height: int) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    found = shorter_side_and_centre(Image.fromarray(pixels), 256)
    left, top = (width - 256) // 2, (height - 256) // 2
    assert np.array_equal(found, pixels[top : top + 256, left : left + 256])


@pytest.mark.parametrize("transpose", [False, True])
def test_keeps_the_centre_and_loses_the_ends(transpose: bool) -> None:
    # Three squares side by side: red, green, blue.
    pixels = np.repeat(np.repeat(255 * np.eye(3, dtype=np.uint8)[None], 100, axis=0), 100, axis=1)
    image = Image.fromarray(pixels.transpose(1, 0, 2) if transpose else pixels)
    found = shorter_side_and_centre(image, 256)
    assert (found[2:-2, 2:-2] == (0, 255, 0)).all()


@pytest.mark.parametrize("size", [256, 32])
def test_greyscale_becomes_three_equal_channels(size: int) -> None:
    grey = photograph(300, 600).convert("L")
    found = shorter_side_and_centre(grey, size)
    assert found.shape == (size, size, 3)
    difference = found - np.asarray(rescaled_then_cropped(grey, size), dtype=int)[:, :, None]
    assert np.abs(difference).max() <= 1
    assert (found == found[:, :, :1]).all()


def test_palette_becomes_its_colours() -> None:
    image = Image.new("P", (400, 300), color=1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert (shorter_side_and_centre(image, 256) == (200, 100, 50)).all()


def test_transparency_is_left_out() -> None:
    image = Image.new("RGBA", (400, 300), color=(200, 100, 50, 7))
    assert (shorter_side_and_centre(image, 256) == (200, 100, 50)).all()


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (400, 300), color=(255, 0, 0, 0))
    assert (shorter_side_and_centre(image, 256) == (0, 255, 255)).all()


def test_the_image_is_left_as_it_is() -> None:
    image = photograph(400, 300)
    before = image.tobytes()
    shorter_side_and_centre(image, 64)
    assert image.size == (400, 300)
    assert image.tobytes() == before


@pytest.mark.parametrize("extension", ["png", "tiff"])
def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path, extension: str) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    path = tmp_path / f"deep.{extension}"
    Image.fromarray(ramp).save(path)
    with Image.open(path) as image:
        pixels = shorter_side_and_centre(image, 64)
    assert np.array_equal(pixels, np.repeat((ramp // 256)[..., None], 3, axis=2))


def test_a_cmyk_jpeg_shows_its_colours(tmp_path: Path) -> None:
    colour = (200, 60, 30)
    Image.new("RGB", (40, 40), colour).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    with Image.open(tmp_path / "print.jpg") as image:
        assert image.mode == "CMYK"
        pixels = shorter_side_and_centre(image, 32)
    assert np.abs(pixels.astype(int) - colour).max() <= 6


def test_a_png_named_jpeg_is_read_as_what_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (1, 2, 3)).save(tmp_path / "really.png")
    (tmp_path / "really.png").rename(tmp_path / "n01_1.JPEG")
    with Image.open(tmp_path / "n01_1.JPEG") as image:
        assert (shorter_side_and_centre(image, 32) == (1, 2, 3)).all()


def test_a_palette_with_transparency_raises_no_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    image = Image.new("P", (40, 40), color=1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "icon.png", transparency=b"\xff\x00")
    with Image.open(tmp_path / "icon.png") as opened:
        assert opened.mode == "P"
        assert (shorter_side_and_centre(opened, 32) == (200, 100, 50)).all()
    assert not recwarn.list


def test_exif_orientation_is_applied_on_request_only(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:, 30:, 0] = 255  # red to the right
    turned = Image.Exif()
    turned[0x0112] = 6  # shown after a quarter turn clockwise: red below
    Image.fromarray(pixels).save(tmp_path / "phone.jpg", exif=turned, quality=95)
    with Image.open(tmp_path / "phone.jpg") as image:
        stored, shown = (shorter_side_and_centre(image, 32, o) for o in ("ignore", "apply"))
    assert (stored[:, 20:, 0] > 200).all()
    assert (stored[:, :12, 0] < 50).all()
    assert (shown[20:, :, 0] > 200).all()
    assert (shown[:12, :, 0] < 50).all()


# More bits than eight

RAMP = np.linspace(0, 1, 40 * 30).reshape(30, 40)


def tiff(pixels: npt.NDArray[Any], **tags: int) -> Image.Image:
    """As it is read from a file; ``bits``, ``largest``: tags that say so."""
    file = io.BytesIO()
    info = TiffImagePlugin.ImageFileDirectory_v2()
    if "largest" in tags:
        info[281] = tags["largest"]
    Image.fromarray(pixels).save(file, "TIFF", tiffinfo=info)
    return Image.open(file)


@pytest.mark.parametrize(
    "image",
    [
        tiff((65535 * RAMP).astype(np.uint16)),
        tiff((4095 * RAMP).astype(np.uint16), largest=4095),
        tiff(((2**31 - 1) * RAMP).astype(np.int32)),
        tiff(RAMP.astype(np.float32)),
        tiff((1000 * RAMP).astype(np.float32), largest=1000),
    ],
    ids=["16 bits", "12 bits that say so", "32 bits", "float to 1", "float to 1000 that say so"],
)
def test_grey_of_more_bits_is_scaled_as_its_format_says(image: Image.Image) -> None:
    expected = shorter_side_and_centre(Image.fromarray((255 * RAMP).astype(np.uint8)), 30)
    stored = shorter_side_and_centre(image, 30)
    assert np.abs(stored.astype(int) - expected).max() <= 1
    assert stored.max() >= 200


@pytest.mark.parametrize(
    "image",
    [
        tiff((4095 * RAMP).astype(np.uint16)),
        tiff((255 * RAMP).astype(np.int32)),
        tiff((255 * RAMP).astype(np.float32)),
        tiff((RAMP - 0.5).astype(np.float32)),
        tiff(np.where(RAMP > 0.5, np.nan, RAMP).astype(np.float32)),
    ],
    ids=["12 bits in 16", "8 bits in 32", "float to 255", "negative", "not a number"],
)
def test_pixels_on_another_scale_than_the_format_says_are_refused(image: Image.Image) -> None:
    with pytest.raises(ValueError, match=r"its pixels are .* where .* is white: save it with 8 bi"):
        shorter_side_and_centre(image, 30)


def test_black_in_sixteen_bits_is_black() -> None:
    assert not shorter_side_and_centre(tiff(np.zeros((30, 40), np.uint16)), 30).any()


def test_unsigned_32_bits_are_read_as_such() -> None:
    values = ((2**32 - 1) * RAMP).astype(np.uint32)
    image = tiff(values.view(np.int32))
    image.tag_v2[TiffImagePlugin.SAMPLEFORMAT] = 1  # type: ignore[attr-defined]
    expected = shorter_side_and_centre(Image.fromarray((255 * RAMP).astype(np.uint8)), 30)
    assert np.abs(shorter_side_and_centre(image, 30).astype(int) - expected).max() <= 1
