"""A miniature ILSVRC, drawn instead of downloaded.

Ten classes of rendered scenes stand in for the photographs: one object of the class, in random
colours, texture, place, scale and tilt, among clutter on a textured background. Only shape tells
the class. Colours are drawn without looking at the class, and an object is as often lighter as
darker than its background, so neither the mean colour nor any one pixel carries the label. The
classes stay what they are under reflection and translation. Varied sizes and aspect ratios and a
few greyscale files give the input pipeline the irregularities that it meets in ILSVRC.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from alexnet_repro.base.files import made_once

log = logging.getLogger(__name__)

IMAGES_PER_CLASS: dict[str, int] = {"train": 140, "val": 20, "test": 40}

_SPLITS = tuple(IMAGES_PER_CLASS)
_GREYSCALE_SHARE = 0.04
_SHORTER_SIDE = (128, 208)
_ASPECT_RATIO = (4 / 3, 16 / 9)
_SUPERSAMPLING = 4
# ITU-R BT.601, the weights with which Pillow and JPEG turn RGB into luma.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Field = NDArray[np.float32]
Corners = NDArray[np.float64]
"""(n, 2), of a polygon: x to the right, y down, with the whole shape within about [-1, 1]."""
Outline = tuple[list[Corners], list[Corners]]
"""What is filled, and the holes in it."""


def _ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Corners:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)], axis=1)


def _disk(x: float, y: float, radius: float) -> Corners:
    return _ellipse(x, y, radius, radius)


def _rectangle(left: float, top: float, right: float, bottom: float) -> Corners:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _crescent(rng: Generator) -> Outline:
    shift = rng.uniform(0.45, 0.6)
    return [_disk(-0.15, 0, 1)], [_disk(shift - 0.15, 0, rng.uniform(0.72, 0.82))]


def _cross(rng: Generator) -> Outline:
    arm = rng.uniform(0.22, 0.34)
    return [_rectangle(-1, -arm, 1, arm), _rectangle(-arm, -1, arm, 1)], []


def _fish(rng: Generator) -> Outline:
    body = _ellipse(-0.25, 0, 0.8, rng.uniform(0.45, 0.6))
    tail = np.array([(0.35, 0), (1, -0.6), (0.85, 0), (1, 0.6)])
    return [body, tail], [_disk(-0.65, -0.12, 0.11)]


def _flower(rng: Generator) -> Outline:
    petals = int(rng.integers(5, 8))
    radius = 0.66 * math.sin(math.pi / petals) * rng.uniform(0.85, 0.98)
    angles = 2 * np.pi * np.arange(petals) / petals
    around = [_disk(0.66 * math.cos(a), 0.66 * math.sin(a), radius) for a in angles]
    return [*around, _disk(0, 0, 0.5)], [_disk(0, 0, rng.uniform(0.2, 0.28))]


def _heart(rng: Generator) -> Outline:
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
    return [np.stack([x, y * rng.uniform(0.9, 1.05)], axis=1)], []


def _house(rng: Generator) -> Outline:
    eaves, wall = rng.uniform(-0.2, 0), rng.uniform(0.6, 0.75)
    roof = np.array([(-1, eaves), (0, -0.95), (1, eaves)])
    door, window = _rectangle(-0.42, 0.38, -0.08, 0.9), _rectangle(0.15, 0.22, 0.45, 0.52)
    return [roof, _rectangle(-wall, eaves, wall, 0.9)], [door, window]


def _ladder(rng: Generator) -> Outline:
    width, rungs = rng.uniform(0.4, 0.52), int(rng.integers(4, 7))
    rails = [_rectangle(x - 0.09, -1, x + 0.09, 1) for x in (-width, width)]
    heights = np.linspace(-0.75, 0.75, rungs)
    return [*rails, *(_rectangle(-width, y - 0.07, width, y + 0.07) for y in heights)], []


def _ring(rng: Generator) -> Outline:
    return [_disk(0, 0, 0.95)], [_disk(0, 0, rng.uniform(0.55, 0.72))]


def _snowman(rng: Generator) -> Outline:
    body, head = _disk(0, 0.42, 0.58), _disk(0, -0.36, rng.uniform(0.36, 0.42))
    brim, hat = _rectangle(-0.46, -0.72, 0.46, -0.6), _rectangle(-0.26, -1.05, 0.26, -0.6)
    return [body, head, brim, hat], []


def _star(rng: Generator) -> Outline:
    angle = -np.pi / 2 + np.pi * np.arange(10) / 5
    radius = np.where(np.arange(10) % 2 == 0, 1, rng.uniform(0.36, 0.46))
    return [np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)], []


_DRAWN = (_crescent, _cross, _fish, _flower, _heart, _house, _ladder, _ring, _snowman, _star)
_OUTLINES = {draw.__name__.removeprefix("_"): draw for draw in _DRAWN}
CLASSES: tuple[str, ...] = tuple(sorted(_OUTLINES))


def _coverage(outline: Outline, tilt: float, scale: tuple[float, float]) -> Field:
    """Return how far an outline covers each pixel (0 to 1) of a square centred on its origin.

    The outline is stretched along its own axes to ``scale`` pixels (mirrored if negative), then
    turned by ``tilt`` radians. Drawing it larger and averaging smooths the edges.
    """
    cos, sin = math.cos(tilt), math.sin(tilt)
    pose = np.array([[cos, sin], [-sin, cos]]) * np.array(scale)[:, None]
    solid, holes = ([corners @ pose for corners in polygons] for polygons in outline)
    half = math.ceil(max(float(np.abs(corners).max()) for corners in solid + holes)) + 1
    mask = Image.new("L", (2 * half * _SUPERSAMPLING,) * 2)
    for fill, polygons in ((255, solid), (0, holes)):
        for corners in polygons:
            points = ((corners + half) * _SUPERSAMPLING).ravel().tolist()
            ImageDraw.Draw(mask).polygon(points, fill=fill)
    return np.asarray(mask.reduce(_SUPERSAMPLING), np.float32) * np.float32(1 / 255)


def _colour(rng: Generator, luma: float) -> Field:
    """Draw a (3, 1, 1) RGB colour (0–255) of random hue and of about the given luma."""
    chroma = rng.uniform(-60, 60, 3).astype(np.float32)
    return np.clip(luma + chroma - chroma @ _LUMA, 0, 255)[:, None, None]


def _smooth_noise(rng: Generator, height: int, width: int, cell: float) -> Field:
    """Return (height, width) noise in [0, 1] whose grains are about ``cell`` pixels wide."""
    grid = rng.random((max(2, round(height / cell)), max(2, round(width / cell))), np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def _texture(rng: Generator, height: int, width: int, period: float) -> Field:
    """Return a (height, width) blend in [0, 1] of two tones: plain, stripes, checks or speckle."""
    kind = rng.choice(["plain", "stripes", "checks", "speckle"])
    if kind == "plain":
        return np.zeros((height, width), np.float32)
    if kind == "speckle":
        wave = 2 * _smooth_noise(rng, height, width, period / 2) - 1.2
    else:
        angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
        y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
        along, across = 2 * np.pi / period * math.cos(angle), 2 * np.pi / period * math.sin(angle)
        wave = np.sin((along * x + phase) + across * y)
        if kind == "checks":
            wave = wave * np.sin((phase - across * x) + along * y)
    blend: Field = np.clip(0.5 + 2.5 * wave, 0, 1)
    return blend


def _background(rng: Generator, height: int, width: int, luma: float) -> Field:
    """Return a (3, height, width) backdrop (0–255): a colour gradient, clouds and a texture."""
    texture = _texture(rng, height, width, min(height, width) * rng.uniform(0.06, 0.2))
    relief = rng.uniform(4, 10) * (texture - 0.5)
    relief += 24 * (_smooth_noise(rng, height, width, min(height, width) / 5) - 0.5)
    relief += np.linspace(rng.uniform(-8, 8), rng.uniform(-8, 8), height, dtype=np.float32)[:, None]
    left, right = _colour(rng, luma), _colour(rng, luma)
    backdrop: Field = left + (right - left) * np.linspace(0, 1, width, dtype=np.float32) + relief
    return backdrop


def _paint(canvas: Field, cover: Field, paint: Field, centre: tuple[float, float]) -> None:
    """Blend ``paint`` into ``canvas`` where the square ``cover``, put at ``centre``, is on it."""
    _, height, width = canvas.shape
    side = len(cover)
    row, column = (round(coordinate) - side // 2 for coordinate in centre)
    rows = slice(max(0, -row), min(side, height - row))
    columns = slice(max(0, -column), min(side, width - column))
    region = canvas[:, max(0, row) : row + side, max(0, column) : column + side]
    paint = np.broadcast_to(paint, (3, side, side))[:, rows, columns]
    region += cover[rows, columns] * (paint - region)


def _paint_clutter(rng: Generator, canvas: Field, count: int) -> None:
    """Scatter small blobs, bars and shards, none of which belongs to any class."""
    _, height, width = canvas.shape
    for _ in range(count):
        size = min(height, width) * rng.uniform(0.02, 0.05)
        blob, bar = _ellipse(0, 0, 1, rng.uniform(0.5, 1)), _rectangle(-2.5, -0.25, 2.5, 0.25)
        shard = rng.uniform(-1.3, 1.3, (3, 2))
        piece = (blob, bar, shard)[rng.integers(3)]
        cover = _coverage(([piece], []), rng.uniform(0, np.pi), (size, size))
        centre = rng.uniform(0, height), rng.uniform(0, width)
        _paint(canvas, cover, _colour(rng, rng.uniform(30, 225)), centre)


def _paint_object(rng: Generator, canvas: Field, name: str, background_luma: float) -> None:
    """Draw the object of class ``name`` near the centre, textured, shaded and well in contrast."""
    _, height, width = canvas.shape
    extent = min(height, width) * rng.uniform(0.5, 0.8)
    stretch = rng.uniform(0.88, 1.12)
    scale = rng.choice([-1, 1]) * extent / 2 * stretch, extent / 2 / stretch
    cover = _coverage(_OUTLINES[name](rng), rng.uniform(-0.35, 0.35), scale)

    side = len(cover)
    contrast = rng.uniform(85, 120) * rng.choice([-1, 1])
    if not 10 <= background_luma + contrast <= 245:
        contrast = -contrast
    luma = background_luma + contrast
    first, second = _colour(rng, luma), _colour(rng, luma - contrast * rng.uniform(0.1, 0.3))
    blend = _texture(rng, side, side, extent * rng.uniform(0.1, 0.25))
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    shade = 1 + rng.uniform(-0.12, 0.12) * ramp[:, None] + rng.uniform(-0.12, 0.12) * ramp

    # Not the whole room beside the object: the central crop has to keep nearly all of it.
    slack = (min(height, width) - extent) / 2 * 0.8 + 0.03 * extent
    centre = height / 2 + rng.uniform(-slack, slack), width / 2 + rng.uniform(-slack, slack)
    _paint(canvas, cover, (first + blend * (second - first)) * shade, centre)


def render(split: str, class_index: int, image_index: int, seed: int = 0) -> Image.Image:
    """Draw one image: the same arguments always give the same pixels (0–255).

    The mode is "RGB", or "L" for a few percent of the images; the shorter side is 128 to 208
    pixels and the longer one 4/3 to 16/9 times that, in either orientation.
    """
    rng = default_rng(SeedSequence((seed, _SPLITS.index(split), class_index, image_index)))
    shorter = int(rng.integers(_SHORTER_SIDE[0], _SHORTER_SIDE[1] + 1))
    longer = round(shorter * rng.uniform(*_ASPECT_RATIO))
    height, width = (shorter, longer) if rng.random() < 0.6 else (longer, shorter)

    luma = rng.uniform(50, 205)
    canvas = _background(rng, height, width, luma)
    _paint_clutter(rng, canvas, int(rng.integers(3, 8)))
    _paint_object(rng, canvas, CLASSES[class_index], luma)
    _paint_clutter(rng, canvas, int(rng.integers(0, 3)))
    canvas += rng.uniform(5, 20) * (rng.random((height, width), np.float32) - 0.5)
    pixels = np.clip(canvas, 0, 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return image.convert("L") if rng.random() < _GREYSCALE_SHARE else image


def generate(
    directory: Path, seed: int = 0, images_per_class: Mapping[str, int] = IMAGES_PER_CLASS
) -> Path:
    """Write the images as ``directory/SPLIT/CLASS/0000.jpg`` ... and return ``directory``.

    An existing ``directory`` is taken as it is. A new one appears only when it is whole.
    """

    def render_all(root: Path) -> None:
        log.info("rendering the miniature ILSVRC into %s", directory)
        for split, count in images_per_class.items():
            for class_index, name in enumerate(CLASSES):
                folder = root / split / name
                folder.mkdir(parents=True)
                for image_index in range(count):
                    image = render(split, class_index, image_index, seed)
                    image.save(folder / f"{image_index:04d}.jpg", quality=92)

    return made_once(directory, render_all)
