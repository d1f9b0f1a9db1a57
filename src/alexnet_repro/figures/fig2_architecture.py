"""Fig. 2: the architecture, drawn from the network itself and its table of exchanges (§4.5)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from torch import nn

from alexnet_repro.figures.paper_style import COLUMN_COLOURS, GREY, RED
from alexnet_repro.network.alexnet import INPUT_SIZE, AlexNet
from alexnet_repro.network.structure import LOSS, Layer, exchanges, layers

Point = tuple[float, float]

GAP = 7.5
"""Between the volumes of two layers; the rest of the picture is in the same unit."""
SLANT = (0.42, 0.30)
"""Where the third dimension goes, for every unit of it."""
ROW = 15.5
"""From the middle of the picture to the middle of a column."""
WINDOWS = ((0.75, 0.2), (0.25, 0.75))
"""Where in a volume (0–1 up, 0–1 back) the first and the second column have their window."""
DENSE_HEIGHT, DENSE_WIDTH = 17.0, 2.2
OVER_LINES: Any = {"zorder": 5, "bbox": {"fc": "white", "ec": "none", "pad": 0.6}}
"""Of text, which no line crosses."""


def _side(pixels: int) -> float:
    """How long a side of so many pixels is drawn: compressed, or 13 would vanish beside 224."""
    return 0.95 * math.pow(pixels, 0.56)


def _thickness(maps: int) -> float:
    return 0.34 * math.pow(maps, 0.62)


@dataclass(frozen=True)
class Volume:
    """The values of a layer in one column, as a cuboid: maps to the right, places up and back.

    Attributes:
        left, middle: of the front face, whose left edge and vertical middle they are.
        width, height, depth: drawn lengths; ``depth`` before the slant.
    """

    left: float
    middle: float
    width: float
    height: float
    depth: float

    @property
    def right(self) -> float:
        """The rightmost point, that of the back face."""
        return self.left + self.width + SLANT[0] * self.depth

    def corner(self, right: bool, top: bool, back: bool) -> Point:
        x = self.left + (self.width if right else 0)
        y = self.middle + (self.height / 2 if top else -self.height / 2)
        # The front face is lowered by half of the slant, so that the cuboid's middle is its own.
        y += SLANT[1] * self.depth * (0.5 if back else -0.5)
        return x + (SLANT[0] * self.depth if back else 0), y

    def part(self, share: float, place: Point) -> "Volume":
        """A cuboid through all maps, ``share`` of a side long, at ``place`` (0–1 up, 0–1 back)."""
        up, back = place
        room_up, room_back = (1 - share) * self.height, (1 - share) * self.depth
        back_shift = (back - 0.5) * room_back
        return Volume(
            self.left + SLANT[0] * (room_back / 2 + back_shift),
            self.middle + (up - 0.5) * room_up + SLANT[1] * back_shift,
            self.width,
            share * self.height,
            share * self.depth,
        )


def draw_architecture(network: AlexNet) -> Figure:
    """The layers of ``network`` as volumes, a row for each column, with what each reads.

    Dashed lines lead from a kernel's window to the layer that it makes. Red lines are what crosses
    between the columns, and red numbers how many values each column sends for an image.
    """
    rows = (ROW, -ROW) if network.columns == 2 else (0.0,)
    described = layers(network)
    figure = Figure(figsize=(10.5, 5.6 if len(rows) == 2 else 3.2))
    axes = figure.add_axes((0, 0, 1, 1))
    image = Volume(0, 0, _thickness(3), _side(INPUT_SIZE), _side(INPUT_SIZE))
    _cuboid(axes, image, "#e9e9e9")
    _measure(axes, image, INPUT_SIZE, 3)
    volumes = [[image] * len(rows)]
    sizes = [INPUT_SIZE]
    left = image.right + GAP
    for layer in described:
        new = [_volume(layer, left, middle, len(rows)) for middle in rows]
        _reading(axes, layer, volumes[-1], new, sizes[-1], network)
        for volume, colour in zip(new, COLUMN_COLOURS, strict=False):
            _cuboid(axes, volume, colour, alpha=0.22)
            _measure(axes, volume, *_numbers(layer, len(rows)))
        volumes.append(new)
        sizes.append(layer.output[-1] if len(layer.output) == 3 else 0)
        left = new[0].right + GAP
    _names(axes, network, described, [image, *(row[0] for row in volumes[1:])])
    if len(rows) == 2:
        _crossings(axes, network, described, volumes)
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.set_axis_off()
    return figure


def _volume(layer: Layer, left: float, middle: float, columns: int) -> Volume:
    if len(layer.output) == 3:
        maps, height, width = layer.output
        return Volume(left, middle, _thickness(maps // columns), _side(height), _side(width))
    return Volume(left, middle, DENSE_WIDTH, DENSE_HEIGHT, DENSE_WIDTH)


def _numbers(layer: Layer, columns: int) -> tuple[int, int]:
    """Places a side (0 for a fully connected layer) and maps or neurons, of one column."""
    return layer.output[-1] if len(layer.output) == 3 else 0, layer.output[0] // columns


def _cuboid(axes: Axes, volume: Volume, colour: str, alpha: float = 1.0) -> None:
    """The three faces that are seen: front, top and right."""
    faces = (
        ([(False, False, False), (True, False, False), (True, True, False), (False, True, False)]),
        ([(False, True, False), (True, True, False), (True, True, True), (False, True, True)]),
        ([(True, False, False), (True, True, False), (True, True, True), (True, False, True)]),
    )
    for face, shade in zip(faces, (1.0, 0.6, 1.5), strict=True):
        corners = [volume.corner(*corner) for corner in face]
        axes.add_patch(Polygon(corners, fc="white", ec="none"))
        axes.add_patch(Polygon(corners, fc=colour, ec="none", alpha=min(1.0, alpha * shade)))
        axes.add_patch(Polygon(corners, fc="none", ec="black", lw=0.7, joinstyle="round"))


def _measure(axes: Axes, volume: Volume, places: int, maps: int) -> None:
    """The numbers at the edges of a volume, as in the paper."""
    bottom = volume.corner(False, False, False)
    x, y = bottom[0] + volume.width / 2, bottom[1] - 0.7
    axes.text(x, y, f"{maps}", ha="center", va="top", fontsize=8, **OVER_LINES)
    if places:
        x, y = volume.corner(True, False, False)
        back_x, back_y = volume.corner(True, False, True)
        x, y = (x + back_x) / 2 + 0.4, (y + back_y) / 2 - 0.3
        axes.text(x, y, f"{places}", fontsize=7, va="top", **OVER_LINES)
        height = volume.middle + SLANT[1] * volume.depth / 2 + 0.3 * volume.height
        axes.text(back_x + 0.4, height, f"{places}", fontsize=7, va="center", **OVER_LINES)


def _reading(
    axes: Axes,
    layer: Layer,
    before: list[Volume],
    after: list[Volume],
    size: int,
    network: AlexNet,
) -> None:
    """Lines from what a layer reads to the layer, for every column."""
    convolution = len(layer.output) == 3
    for column, target in enumerate(after):
        for source_column, source in enumerate(before):
            own = column == source_column or layer.reads == "image"
            if not own and layer.reads != "both columns":
                continue
            if layer.reads == "image" and source_column > 0:
                continue
            style = {"color": "#555555", "ls": (0, (3, 2)), "lw": 0.6}
            if not own:
                style = {"color": RED, "ls": "-", "lw": 0.6, "alpha": 0.8}
            if convolution:
                place = WINDOWS[column if layer.reads == "image" else source_column]
                _window(axes, layer.kernel[-1], source, target, size, style, place)
            else:
                _dense(axes, source, target, style)


def _window(
    axes: Axes,
    kernel: int,
    source: Volume,
    target: Volume,
    size: int,
    style: dict[str, object],
    place: Point,
) -> None:
    """A kernel's window in ``source``, and lines from it to what it makes in ``target``."""
    window = source.part(max(_side(kernel) / _side(size), 0.12), place)
    _lines(axes, window, "black", 0.5)
    end = target.part(0.01, (0.5, 0.4)).corner(False, False, False)
    for top in (False, True):
        for back in (False, True):
            start = window.corner(True, top, back)
            axes.plot(*zip(start, end, strict=True), zorder=3, **style)  # type: ignore[arg-type]
    x, y = window.corner(False, False, False)
    inside = window.width > 2
    x, ha = (x + 0.4, "left") if inside else (x - 0.3, "right")
    axes.text(x, y + 0.3, f"{kernel}", fontsize=6, ha=ha, va="bottom", **OVER_LINES)


def _lines(axes: Axes, volume: Volume, colour: str, width: float) -> None:
    """The edges of a cuboid that are seen, over what is drawn already."""
    edges: Iterable[list[tuple[bool, bool, bool]]] = (
        [(False, False, False), (True, False, False), (True, True, False), (False, True, False)],
        [(False, True, False), (False, True, True), (True, True, True), (True, True, False)],
        [(True, False, False), (True, False, True), (True, True, True), (True, True, False)],
    )
    for face in edges:
        corners = [volume.corner(*corner) for corner in face]
        axes.add_patch(Polygon(corners, fc="none", ec=colour, lw=width, zorder=3))


def _dense(axes: Axes, source: Volume, target: Volume, style: dict[str, object]) -> None:
    for top in (False, True):
        start = source.corner(True, top, True)
        end = target.corner(False, top, False)
        axes.plot(*zip(start, end, strict=True), zorder=0.5, **style)  # type: ignore[arg-type]


def _names(axes: Axes, network: AlexNet, described: list[Layer], volumes: list[Volume]) -> None:
    """Names of the layers along the top; along the bottom, what happens between them."""
    top = max(v.middle + v.height / 2 + SLANT[1] * v.depth / 2 for v in volumes) + 2
    modules = dict(network.named_children())
    pooled = False
    for layer, volume in zip(described, volumes[1:], strict=True):
        axes.text((volume.left + volume.right) / 2, top, layer.name, ha="center", fontsize=9)
        module, said = modules[layer.name], ["max", "pooling"] if pooled else []
        if isinstance(module, nn.Conv2d) and module.stride[0] > 1:
            said += ["stride", f"of {module.stride[0]}"]
        if isinstance(module, nn.Linear):
            said = [" ".join(said), "dense"] if said else ["dense"]
        text = "\n".join(said)
        x = volume.left - GAP / 2
        axes.text(x, -top, text, fontsize=8, ha="center", va="top", color=GREY)
        pooled = f"{layer.name}_pool" in modules


def _crossings(
    axes: Axes, network: AlexNet, described: list[Layer], volumes: list[list[Volume]]
) -> None:
    """In red, where columns exchange, how many values each sends for an image."""
    lefts = [row[0].left for row in volumes[1:]]
    place = {layer.name: left - GAP / 2 for layer, left in zip(described, lefts, strict=True)}
    place[LOSS] = volumes[-1][0].right + GAP / 2
    for last in volumes[-1]:
        for top in (False, True):
            x, y = last.corner(True, top, True)
            axes.plot((x, place[LOSS]), (y, 0), color=RED, lw=0.6, alpha=0.8, zorder=0.5)
    for exchange in exchanges(network):
        text = "×".join(map(str, exchange.shape))
        said = f"{text}\nto {'the loss' if exchange.reader == LOSS else exchange.reader}"
        axes.text(
            place[exchange.reader],
            0,
            said,
            fontsize=7.5,
            color=RED,
            ha="center",
            va="center",
            **OVER_LINES,
        )
