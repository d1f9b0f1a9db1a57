"""Images given by the user: a file, a folder or a pattern."""

import glob
import io
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image, UnidentifiedImageError
from rich.table import Table

from alexnet_repro.base.console import console, printable
from alexnet_repro.base.errors import UsageError, one_line
from alexnet_repro.base.files import user_path
from alexnet_repro.data.listing import Notes, images
from alexnet_repro.data.preprocess import Orientation, Pixels, shorter_side_and_centre

UPLOAD_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Pillow reads many more, some of them with other programs: not for strangers."""


@dataclass(frozen=True)
class Damaged:
    """An image that cannot be read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Answered:
    """An image and what was found for it, the best first: rows of a table, or of JSON."""

    path: Path
    rows: Sequence[Mapping[str, Any]]


FORMATS: dict[str, Callable[[Any], str]] = {
    "probability": lambda share: f"{100 * share:.1f} %",
    "distance": lambda distance: f"{distance:.2f}",
}
"""Of columns that hold numbers."""


def print_answers(
    answers: Sequence[Answered | Damaged], images: str, rows: str, as_json: bool, **said: Any
) -> None:
    """Print what was found for each image; if one could not be read, say so and exit with 1.

    Args:
        images, rows: keys of the JSON, which begins with what is ``said``.
    """
    found = [one for one in answers if isinstance(one, Answered)]
    damaged = [one for one in answers if isinstance(one, Damaged)]
    if as_json:
        of_images = [{"image": str(one.path), rows: one.rows} for one in found]
        skipped = [{"image": str(one.path), "reason": one.reason} for one in damaged]
        print(json.dumps({**said, images: of_images, "damaged": skipped}, indent=1))
    elif found:
        console.print(_table(found, rows))
    for one in damaged:
        told = f"{one.path}: skipped: {one.reason}"
        print(printable(told), file=sys.stderr)
    if damaged:
        if len(answers) > 1:
            print(f"{len(damaged)} of {len(answers)} images skipped", file=sys.stderr)
        sys.exit(1)


def _table(found: Sequence[Answered], rows: str) -> Table:
    """An image a block, a row a line."""
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("image", overflow="fold")
    for column in found[0].rows[0]:
        justify: Literal["left", "right"] = "right" if column in FORMATS else "left"
        title = rows if column == "image" else column
        table.add_column(title, justify=justify, overflow="fold")
    for one in found:
        for number, row in enumerate(one.rows):
            cells = [FORMATS.get(column, str)(value) for column, value in row.items()]
            table.add_row("" if number else printable(str(one.path)), *map(printable, cells))
    return table


def find_images(given: str) -> list[Path]:
    """The files that ``given`` means: itself, those in it and in its folders, or what it matches.

    In folders and among matches, a file is an image if its extension says so; others are reported.

    Args:
        given: a file, a folder or a pattern (``*``, ``?``, ``**``).

    Raises:
        UsageError: if there is none.
    """
    path, notes = user_path(given), Notes()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [path / below for below, _ in images(path, notes)]
        missing = "the folder holds no images"
    else:
        matches = map(Path, sorted(glob.glob(str(path), recursive=True)))
        found = [match for match in matches if match.is_file() and notes.takes(match.name)]
        missing = "there is no such file or folder, and no image matches it as a pattern"
    if not found:
        raise UsageError(f"{given}: {missing}{f'; {notes}' if notes.passed_over else ''}")
    if notes.passed_over:
        print(f"{given}: skipped {notes}", file=sys.stderr)
    return found


def read_image(path: Path, size: int, orientation: Orientation = "ignore") -> Pixels | Damaged:
    """The image as the network's training images were stored: (size, size, 3), RGB 0–255.

    One whose header promises more pixels than Pillow takes for safe is not decoded.
    """
    try:
        with _opened(path) as image:
            return shorter_side_and_centre(image, size, orientation)
    except UnidentifiedImageError:
        return Damaged(path, "not a readable image")
    except Exception as error:  # a damaged file can make its decoder raise anything
        return Damaged(path, one_line(error).replace(f"'{path}'", "it"))


def read_upload(
    content: bytes, size: int, orientation: Orientation, most_pixels: float
) -> Pixels | Damaged:
    """:func:`read_image` of what a stranger sent, in the formats that browsers show.

    Args:
        most_pixels: an image whose header promises more of them is not decoded.
    """
    upload = Path("upload")
    try:
        with _opened(io.BytesIO(content), UPLOAD_FORMATS) as image:
            width, height = image.size
            if width * height > most_pixels:
                limit = f"{most_pixels / 1e6:g} megapixels are the limit"
                return Damaged(upload, f"it has {width}×{height} pixels, {limit}")
            return shorter_side_and_centre(image, size, orientation)
    except UnidentifiedImageError:
        *others, last = UPLOAD_FORMATS
        return Damaged(upload, f"it is not a {', '.join(others)} or {last} image")
    except Exception as error:  # a damaged file can make its decoder raise anything
        return Damaged(upload, one_line(error))


@contextmanager
def _opened(
    file: Path | io.BytesIO, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    with warnings.catch_warnings(action="ignore"):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=formats) as image:
            yield image
