"""Which checkpoint is meant by what a user types."""

from pathlib import Path

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path

WEIGHTS = "model.safetensors"
"""Of a network that ``alexnet export safetensors`` wrote."""

SHIPPED = Path(__file__).parents[3] / "results" / "imagenette" / WEIGHTS
"""The network that comes with a checkout; an installed package has none."""


def find_checkpoint(given: str) -> Path:
    """The file that ``given`` means.

    Args:
        given: a file; a folder that ``alexnet export safetensors`` wrote; the folder of a run, or
            of several, of which the newest counts; ``last``, the newest run in ``runs``; or
            ``imagenette``, the network that comes with a checkout.

    Raises:
        UsageError: if there is none.
    """
    if given == SHIPPED.parent.name:
        if SHIPPED.is_file():
            return SHIPPED
        raise UsageError(
            f"{given}: this network comes with a checkout of the repository, not with the "
            f"installed package; give the path of its folder, results/{given}"
        )
    place = user_path("runs" if given == "last" else given)
    if place.is_file():
        return place
    if not place.is_dir():
        raise UsageError(
            f"{given}: "
            + ("there is no folder runs here" if given == "last" else "there is no such checkpoint")
            + f"; give a .ckpt file, the folder of a run, last or {SHIPPED.parent.name}"
        )
    if (place / WEIGHTS).is_file():
        return place / WEIGHTS
    if (found := newest_checkpoint(place, "**/checkpoints")) is None:
        raise UsageError(f"{place}: no run in it has saved checkpoints/last.ckpt")
    return found


def newest_checkpoint(place: Path, folders: str) -> Path | None:
    """The last checkpoint of the run that saved last, of those whose folders match a pattern."""
    # before_last.ckpt is alone where a kill came between two renames.
    found = place.glob(f"{folders}/*last.ckpt")
    return max(
        found, key=lambda path: (path.stat().st_mtime, path.name == "last.ckpt"), default=None
    )
