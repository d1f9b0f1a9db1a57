"""How pictures look, like the paper's: a serif face, thin lines, and no ornament."""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from alexnet_repro.base.files import all_of

log = logging.getLogger(__name__)

BLUE, RED, GREY = "#2b5c8a", "#c2352b", "#8a8a8a"
COLUMN_COLOURS = (BLUE, "#d98324")
"""The first column's and the second column's colour in every picture."""

STYLE: dict[Any, Any] = {
    "font.family": "serif",
    "font.serif": ["STIXGeneral", "Times New Roman", "DejaVu Serif"],
    "mathtext.fontset": "stix",
    "font.size": 10,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "alexnet_repro",
    "pdf.fonttype": 42,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Within it, figures are made in the style of the paper."""
    with mpl.rc_context(STYLE):
        yield


def save(figure: Figure, directory: Path, name: str, formats: Sequence[str], dpi: int) -> None:
    """Write ``figure`` as ``directory/name.FORMAT`` for every format, the same bytes every time."""
    directory.mkdir(parents=True, exist_ok=True)
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    for file_format in formats:
        path = directory / f"{name}.{file_format}"
        with all_of(path) as unfinished:
            figure.savefig(
                unfinished,
                format=file_format,
                dpi=dpi,
                bbox_inches="tight",
                pad_inches=0.05,
                metadata=undated[file_format],
            )
        log.info("%s", path)


def png(figure: Figure, dpi: int) -> bytes:
    """The figure as a PNG file in memory, for a notebook."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, bbox_inches="tight", pad_inches=0.05)
    return file.getvalue()
