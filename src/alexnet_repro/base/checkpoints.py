"""Which checkpoint is meant by what a user types."""

from pathlib import Path

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path

WEIGHTS = "model.safetensors"
"""Of a network that ``alexnet export safetensors`` wrote."""

SHIPPED = Path(__file__).parents[3] / "results" / "imagenette" / WEIGHTS
"""The network that comes with a checkout; an installed package has none."""


def find_checkpoint(given: str, runs: str = "runs") -> Path:
    """The file that ``given`` means.

    Args:
        given: a file; a folder that ``alexnet export safetensors`` wrote; the folder of a run, or
            of several, of which the newest counts; ``last``, the newest run in ``runs``; or
            ``imagenette``, the network that comes with a checkout.
        runs: a folder of runs.

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
    place = user_path(runs if given == "last" else given)
    if place.is_file():
        return place
    if not place.is_dir():
        missing = f"folder {runs} here" if given == "last" else "such checkpoint"
        raise UsageError(
            f"{given}: there is no {missing}; give a .ckpt file, the folder of a run, last or "
            f"{SHIPPED.parent.name}"
        )
    if (place / WEIGHTS).is_file():
        return place / WEIGHTS
    # before_last.ckpt is alone where a kill came between two renames.
    found = place.glob("**/checkpoints/*last.ckpt")
    newest = max(found, key=lambda p: (p.stat().st_mtime, p.name == "last.ckpt"), default=None)
    if newest is None:
        raise UsageError(f"{given}: no run in {place} has saved checkpoints/last.ckpt")
    return newest
