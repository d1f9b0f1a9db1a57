"""Every format and mode that people have, in one folder, is read as it looks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from alexnet_repro.analysis.images import Damaged, find_images, read_image
from alexnet_repro.data.prepare import cached
from alexnet_repro.data.sources import folder
from alexnet_repro.data.store import StoredAs

SIZE = 32
RED_ABOVE_BLUE = np.zeros((60, 80, 3), np.uint8)
RED_ABOVE_BLUE[:30, :, 0] = RED_ABOVE_BLUE[30:, :, 2] = 220


def grey(image: Image.Image) -> Image.Image:
    return image.convert("L")


def write_all(top: Path) -> dict[str, Image.Image]:
    """A file of every kind; returns what each should look like, upright as it is stored."""
    top.mkdir(parents=True)
    image = Image.fromarray(RED_ABOVE_BLUE)
    looks: dict[str, Image.Image] = {}

    def save(name: str, saved: Image.Image, looks_like: Image.Image = image, **how: object) -> None:
        saved.save(top / name, **how)  # type: ignore[arg-type]
        looks[name] = looks_like

    for name in ("a.jpg", "a.JPEG", "a.png", "a.webp", "a.tif", "a.gif", "a.bmp", "a.ppm", "a.jp2"):
        save(name, image)
    if features.check("avif"):
        save("a.avif", image)
    save("png_named.jpg", image, format="PNG")
    save("cmyk.jpg", image.convert("CMYK"))
    save("grey.jpg", grey(image), grey(image))
    save("bilevel.png", image.convert("1"), image.convert("1"))
    save("palette.png", image.convert("P", palette=Image.Palette.ADAPTIVE))
    transparent = image.convert("P", palette=Image.Palette.ADAPTIVE)
    save("palette_with_transparency.png", transparent, transparency=0)
    save("with_alpha.png", image.convert("RGBA"))
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    save("rotated_by_exif.jpg", image, exif=upside_down)
    sixteen = np.asarray(grey(image)).astype(np.uint16) * 257
    save("sixteen_bits.png", Image.fromarray(sixteen), grey(image))
    save("sixteen_bits.tif", Image.fromarray(sixteen), grey(image))
    save("float.tif", Image.fromarray((sixteen / 65535).astype(np.float32)), grey(image))
    save("one_pixel_wide.png", image.resize((1, 60)), image.resize((1, 60)))
    save("twenty_thousand_wide.png", image.resize((20_000, 4)), image.resize((20_000, 4)))
    return looks


def expected(image: Image.Image) -> np.ndarray:
    """§3 by hand."""
    image = image.convert("RGB")
    shorter = min(image.size)
    left, top = (image.width - shorter) / 2, (image.height - shorter) / 2
    box = (left, top, left + shorter, top + shorter)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box), dtype=int)


@pytest.fixture
def formats(tmp_path: Path) -> tuple[Path, dict[str, Image.Image]]:
    root = tmp_path / "images"
    looks = write_all(root / "train" / "all")
    for place in ("train/other", "val/all", "val/other"):
        (root / place).mkdir(parents=True)
        Image.fromarray(RED_ABOVE_BLUE).save(root / place / "a.png")
    return root, looks


def test_every_format_is_stored_as_it_looks(
    formats: tuple[Path, dict[str, Image.Image]], tmp_path: Path
) -> None:
    root, looks = formats
    store = cached(folder(str(root)), StoredAs(SIZE), tmp_path / "cache", "formats")
    train = store.splits["train"]
    stored = {Path(train.name(i)).name: train.image(i).astype(int) for i in range(len(looks))}
    assert stored.keys() == looks.keys()
    far = {name: np.abs(stored[name] - expected(look)).mean() for name, look in looks.items()}
    assert {name: distance for name, distance in far.items() if distance > 6} == {}


def test_predict_reads_the_same_pixels(
    formats: tuple[Path, dict[str, Image.Image]], tmp_path: Path
) -> None:
    root, looks = formats
    store = cached(folder(str(root)), StoredAs(SIZE), tmp_path / "cache", "formats")
    train = store.splits["train"]
    found = find_images(str(root / "train" / "all"))
    assert [path.name for path in found] == sorted(looks)
    for i, path in enumerate(found):
        read = read_image(path, SIZE)
        assert not isinstance(read, Damaged)
        assert np.array_equal(read, train.image(i))
