"""Checkpoint files: written whole or not at all, and compared with their checksums when read.

``torch.save`` keeps a CRC-32 of every tensor in the file, as any zip archive does, and
``torch.load`` does not look at them: a flipped bit would be trained on.
"""

import logging
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from alexnet_repro.errors import UsageError

log = logging.getLogger(__name__)

LAST, BEFORE = "last.ckpt", "before_last.ckpt"
"""The newest checkpoint of a run, and the one that it replaced."""


def last_checkpoint(directory: Path) -> Path:
    """Of the run in ``directory``."""
    return directory / "checkpoints" / LAST


class CheckpointFile(TorchCheckpointIO):
    """How Lightning writes checkpoints.

    Its own way writes to the system's temporary folder and moves the file from there: where that is
    another file system, a move is a copy, and a copy can be torn. Here the file is written beside
    its place, forced to the disk and renamed. What ``last.ckpt`` was stays as ``before_last.ckpt``.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write ``path``.

        Raises:
            UsageError: if the disk is full or cannot be written; ``path`` is as it was.
        """
        place = Path(path)
        # One name, so that what a killed process left is overwritten, not gathered.
        partial = place.with_name(f".{place.name}.partial")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if place.name == LAST and place.exists():
                _keep(place, place.with_name(BEFORE))
            os.replace(partial, place)
            _sync_folder(place.parent)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            # torch tells of a failed write in words of its own, on top of what the system said.
            if (reason := _system_error(error)) is None:
                raise
            raise UsageError(
                f"{place}: cannot be written ({reason.strerror}); "
                + (
                    "the file is as it was, make room and go on with resume="
                    f"{place.with_name(LAST)}"
                    if place.with_name(LAST).exists()
                    else "make room, or choose another folder with hydra.run.dir="
                )
            ) from error


def _keep(place: Path, before: Path) -> None:
    """Have the file of ``place`` under a second name too; ``place`` itself is never missing."""
    before.unlink(missing_ok=True)
    try:
        os.link(place, before)
    except OSError:  # a file system without hard links
        os.replace(place, before)


def _sync_folder(directory: Path) -> None:
    """Force renames to the disk, so that a power failure does not undo them."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _system_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, or None if every part is as its checksum says."""
    try:
        with zipfile.ZipFile(path) as archive:
            # torch compresses nothing; what is compressed may grow without end.
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                return "it holds compressed parts, which torch does not write"
            changed = archive.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError) as error:
        return str(error) or type(error).__name__
    except (EOFError, RuntimeError, OverflowError) as error:
        return f"it breaks off: {error!r}"
    return None if changed is None else f"{changed} differs from its checksum"


def whole(path: Path) -> Path:
    """``path`` if it is whole; else the checkpoint before it, if that is.

    Raises:
        UsageError: if neither is.
    """
    if (reason := damage(path)) is None:
        return path
    before = path.with_name(BEFORE)
    if path.name == LAST and before.is_file() and damage(before) is None:
        log.warning("%s: damaged (%s); going on from the one before it, %s", path, reason, before)
        return before
    raise UsageError(
        f"{path}: damaged ({reason}), and there is none before it; begin anew without resume"
    )
