"""Files that are written whole or not at all, and what tells whether they changed."""

import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from rich.filesize import decimal

from alexnet_repro.base.errors import UsageError

log = logging.getLogger(__name__)

UNREADABLE = (
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
    *(errno.EMFILE, errno.ENFILE),
)
"""What the system says of files that may be whole."""


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` so that ``path`` holds either what it held before or all of it.

    A number that is not finite, such as the loss of a run that diverged, is written as null: JSON
    has no other word for it.
    """
    write_text(path, json.dumps(_finite(value), indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` holds either what it held before or all of it."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either what it held before or all of it."""
    with all_of(path) as unfinished:
        unfinished.write_bytes(content)


def check_is_file(path: Path) -> None:
    """Raises UsageError if there is something other than a file at ``path``."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: not a regular file; give the name of a file")


def make_room_for(path: Path) -> None:
    """Make the folder of a file that is to be written after something long.

    Raises:
        OSError: naming ``path``, if that folder takes no files.
        UsageError: as :func:`check_is_file`.
    """
    check_is_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says of a disk that has no room for a file."""


@contextmanager
def all_of(path: Path) -> Iterator[Path]:
    """The name of a file to write, which takes the place of ``path`` once all of it is written.

    Raises:
        OSError: naming ``path``, if the disk is full or does not take the file.
        UsageError: if it is a folder, a device or a pipe.
    """
    check_is_file(path)
    prefix, unfinished = f".{path.name}-", None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=prefix, delete=False) as file:
            unfinished = Path(file.name)
            yield unfinished
            os.fsync(file.fileno())
            unfinished.chmod(0o644)
            unfinished.replace(path)
    except BaseException as error:
        if unfinished is not None:
            unfinished.unlink(missing_ok=True)
        if (refused := _refused(error, str(path.with_name(prefix)))) is None:
            raise
        raise OSError(refused, os.strerror(refused), str(path)) from error


def _refused(error: BaseException | None, temporary: str) -> int | None:
    """The number of the system's error for which a file was not written, if it was for one."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            full = error.errno in FULL and error.filename is None
            if full or str(error.filename).startswith(temporary):
                return error.errno
        error = error.__cause__ or error.__context__
    return None


def check_room(directory: Path, needed: int, what: str) -> None:
    """Tell how much will be written into a folder.

    Raises:
        UsageError: if its disk has no room for that.
    """
    free = shutil.disk_usage(directory).free
    told = f"{directory}: {what} takes {decimal(needed)}, {decimal(free)} are free"
    if needed > free:
        raise UsageError(told)
    log.info("%s", told)


@contextmanager
def locked(directory: Path, shared: bool = False) -> Iterator[None]:
    """Make ``directory`` alone, or beside others that make parts of it.

    The lock is the system's: it ends with the process that holds it, however that ends, on another
    node too.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with directory.with_name(f".{directory.name}.lock").open("a+") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: waiting for another process that makes it", directory)
            fcntl.flock(file, kind)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise
            log.warning(
                "%s: its file system has no locks (%s): let no other process prepare it now",
                directory,
                error.strerror,
            )
        yield


def made_once(directory: Path, make: Callable[[Path], None]) -> Path:
    """``directory``, which ``make`` fills under another name if it is not there yet.

    It is whole or not there. Of processes that want it at once, one makes it.
    """
    if not directory.exists():
        with locked(directory):
            if not directory.exists():
                unfinished = directory.with_name(f".{directory.name}.unfinished")
                # What a killed process left.
                shutil.rmtree(unfinished, ignore_errors=True)
                try:
                    make(unfinished)
                    unfinished.rename(directory)
                finally:
                    shutil.rmtree(unfinished, ignore_errors=True)
    return directory


def sync_folder(directory: Path) -> None:
    """Force renames to the disk, so that a power failure does not undo them.

    Some file systems, such as CIFS, do not know that of folders, which is told once.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS):
            raise
        _tell_unsynced(directory, error.strerror)
    finally:
        os.close(descriptor)


@cache
def _tell_unsynced(directory: Path, reason: str) -> None:
    told = "%s: this file system does not sync folders (%s): a power failure may undo a checkpoint"
    log.warning(told, directory, reason)


def unreadable(error: BaseException, path: Path) -> UsageError | None:
    """What to say where a file may be whole but the system does not let it be read; else None."""
    if not isinstance(error, OSError) or error.errno not in UNREADABLE:
        return None
    return UsageError(
        f"{error.filename or path}: cannot be read ({error.strerror}): it may be intact; "
        "check its permissions and its disk"
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def user_path(given: str | Path) -> Path:
    """A path as a user types it, in which ``~`` is the home folder.

    With ``hydra.job.chdir`` too it is relative to where the command was started.

    Raises:
        UsageError: if this user has none, as in a container.
    """
    moved = HydraConfig.initialized() and HydraConfig.get().job.chdir
    try:
        return Path(HydraConfig.get().runtime.cwd if moved else "", Path(given).expanduser())
    except RuntimeError as error:
        raise UsageError(
            f"{given}: this user has no home folder: set HOME, or give the whole path; "
            "ALEXNET_REPRO_CACHE=FOLDER is where data are kept"
        ) from error


TEMPORARY = "alexnet_repro_"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder in the system's temporary one, for as long as it is used.

    What a killed process left there is removed by the next one: in use is what somebody has locked,
    in whichever container.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        # Somebody else's, in use, or gone.
        with suppress(OSError), _locked(left):
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with _locked(folder):
            yield folder


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Whether no other process is in ``folder``; if so, none can be until the end.

    Where the file system has no locks for folders, as some that machines share, nobody is seen.
    """
    with ExitStack() as held:
        try:
            held.enter_context(_locked(folder))
            alone = True
        except OSError as error:
            alone = not isinstance(error, BlockingIOError)
        yield alone


_descriptors: set[int] = set()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder; an OSError if another process does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    _descriptors.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        # A process that was forked meanwhile has closed its own.
        if descriptor in _descriptors:
            _descriptors.remove(descriptor)
            os.close(descriptor)


def _let_go() -> None:
    """In a forked process, such as a reader of images: the lock ends with who took it."""
    while _descriptors:
        os.close(_descriptors.pop())


os.register_at_fork(after_in_child=_let_go)
