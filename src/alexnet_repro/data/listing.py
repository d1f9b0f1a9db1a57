"""The files of a folder, a tar or a zip: found once, and then read in place.

Which of them are images is said here for all of the package. Nothing is unpacked: what an archive
calls its members, and where it would have links point to, is of no consequence. What it says of
sizes and places is checked before it is believed.
"""

import io
import logging
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

from PIL import Image

from alexnet_repro.base.console import printable
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.gunzipped import Gunzipped

log = logging.getLogger(__name__)

LARGEST_IMAGE = 2**28
"""Bytes of a member that is read."""
OF_SYSTEMS = {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"}
"""Folders that operating systems and network drives put among those of a user."""
HIDDEN, NO_IMAGE = "hidden or system files", "files without the extension of an image"


def is_image(name: str) -> bool:
    """Whether a file is taken for an image: by its extension, if Pillow reads such files."""
    _, dot, extension = name.rpartition(".")
    return bool(dot) and f".{extension.lower()}" in _extensions()


def is_hidden(path: str) -> bool:
    """Whether a file, or a folder that it lies in, is hidden or of an operating system's own."""
    parts = path.split("/")
    return any(p in OF_SYSTEMS or (p.startswith(".") and p not in (".", "..")) for p in parts)


@cache
def _extensions() -> frozenset[str]:
    return frozenset(e for e, name in Image.registered_extensions().items() if name in Image.OPEN)


ReadAt = Callable[[Path, int, int], bytes]
"""From a file, an offset and a number of bytes to these bytes."""


def _plain(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


@dataclass(frozen=True, slots=True)
class File:
    """A file of its own, or one inside an archive.

    Attributes:
        name: as a source calls it.
        path: of it, or of the archive.
        size: in bytes.
        changed: the nanosecond of its last change; None for one inside an archive.
        offset: in the archive, of what ``read_at`` reads.
    """

    name: str
    path: Path
    size: int
    changed: int | None = None
    offset: int = 0
    read_at: ReadAt = _plain

    def read(self) -> bytes:
        # Python sets memory aside for all that is asked for, were it there or not.
        if self.changed is None and self.size > LARGEST_IMAGE:
            raise ValueError(f"is {self.size} bytes large, by its header")
        return self.read_at(self.path, self.offset, self.size)

    def open(self) -> Image.Image:
        return Image.open(io.BytesIO(self.read()) if self.changed is None else self.path)

    def stamp(self, split: str, label: int) -> str:
        """What changes with the file, or with what it is for."""
        if self.changed is not None:
            return f"{self.name}\0{self.size}\0{self.changed}\n"
        return repr((split, label, self.name, self.path.name, self.offset, self.size))


@dataclass
class Notes:
    """What was found beside images.

    Attributes:
        damaged: a line for what cannot be read, or lies where no image should be.
        passed_over: how many files, and the first, by why they are no images.
    """

    damaged: list[str] = field(default_factory=list)
    passed_over: dict[str, tuple[int, str]] = field(default_factory=dict)

    def pass_over(self, name: str, why: str) -> None:
        count, first = self.passed_over.get(why, (0, printable(name)))
        self.passed_over[why] = count + 1, first

    def takes(self, path: str) -> bool:
        """Whether a file is an image that is not hidden; if not, it is passed over."""
        why = HIDDEN if is_hidden(path) else None if is_image(path) else NO_IMAGE
        if why is not None:
            self.pass_over(path, why)
        return why is None

    def tell(self, place: object) -> None:
        """One line of what was passed over, if anything was."""
        if self.passed_over:
            log.info("%s: skipped %s", place, self)

    def __str__(self) -> str:
        told = self.passed_over.items()
        return "; ".join(f"{count} {why} ({first})" for why, (count, first) in told)


def images(place: Path, notes: Notes, called: str = "") -> Iterator[tuple[str, File]]:
    """The images of a folder, or of a tar or zip, with their path in it.

    Those of a folder come in the order of their paths, those of an archive in its own.

    Args:
        called: what the names of files in a folder begin with, before their path.

    Raises:
        OSError: naming a folder that cannot be entered.
    """
    return (found for found in files(place, notes, called) if notes.takes(found[0]))


def files(place: Path, notes: Notes, called: str = "") -> Iterator[tuple[str, File]]:
    """All files of a folder, a tar, gzipped or not, or a zip, with their path in it.

    A tar that breaks off is read as far as it goes. Of a tar of tars, these are the files of the
    inner ones: ``n01440764.tar/n01440764_18.JPEG``.
    """
    if place.is_dir():
        return _of_folder(place, "", notes, called)
    if place.suffix == ".zip":
        return _of_zip(place, notes)
    if place.suffix in (".gz", ".tgz"):
        log.info("%s: it has no index, and is read through to list its files", place)
        return _of_tar(place, notes, io.BufferedReader(_gunzipped(place)), read_at=_ungzipped)
    return _of_tar(place, notes)


def _of_folder(folder: Path, above: str, notes: Notes, called: str) -> Iterator[tuple[str, File]]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{above}{entry.name}"
        # Folders of classes may be links; links further below could lead in a circle.
        if entry.is_dir(follow_symlinks=not above):
            if is_hidden(entry.name):
                notes.pass_over(path, HIDDEN)
            else:
                yield from _of_folder(Path(entry.path), f"{path}/", notes, called)
        elif entry.is_dir():
            notes.pass_over(path, "links to folders")
        elif not entry.is_file():
            notes.pass_over(path, "links to nowhere or devices")
        else:
            stat, name = entry.stat(), printable(called + path)
            yield path, File(name, Path(entry.path), stat.st_size, stat.st_mtime_ns)


def _of_tar(
    path: Path,
    notes: Notes,
    file: IO[bytes] | None = None,
    outer: tarfile.TarInfo | None = None,
    read_at: ReadAt = _plain,
) -> Iterator[tuple[str, File]]:
    """Of the tar at ``path``; ``file`` is what it is read from, or the tar in it named ``outer``.

    What is neither a file nor a folder is damaged.
    """
    above, start = (f"{outer.name}/", outer.offset_data) if outer else ("", 0)
    told = printable(f"{path.name}/{above}".rstrip("/"))
    try:
        with tarfile.open(path if file is None else None, mode="r:", fileobj=file) as archive:
            before = -1
            while (info := archive.next()) is not None:
                # Otherwise tarfile keeps a kilobyte for every file.
                archive.members.clear()  # type: ignore[attr-defined]
                # A negative size would have tarfile read the same headers for ever.
                if info.size < 0 or archive.offset <= before:
                    raise tarfile.ReadError("a member of a negative size")
                before = archive.offset
                if info.isfile() and info.name.endswith(".tar") and outer is None:
                    yield from _of_tar(path, notes, archive.extractfile(info), info, read_at)
                elif info.isfile():
                    name, offset = printable(info.name), start + info.offset_data
                    yield above + info.name, File(name, path, info.size, None, offset, read_at)
                elif not info.isdir():
                    notes.damaged.append(f"{told}/{printable(info.name)} (is a link or a device)")
            if not _is_whole(archive):
                notes.damaged.append(f"{told} (breaks off at byte {archive.offset})")
    # Headers that are no headers can make tarfile raise anything, from within ``next``.
    except UsageError:
        raise
    except Exception as error:
        notes.damaged.append(_damaged_archive(told, error))


def _of_zip(path: Path, notes: Notes) -> Iterator[tuple[str, File]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # what is no zip can make zipfile raise anything
        notes.damaged.append(_damaged_archive(path.name, error))
        return
    for info in members:
        if not info.is_dir():
            name, offset = printable(info.filename), info.header_offset
            yield info.filename, File(name, path, info.file_size, None, offset, _unzipped)


def _damaged_archive(told: str, error: Exception) -> str:
    reason = printable(str(error)) or type(error).__name__
    return f"{told} (damaged or incomplete archive: {reason})"


def _unzipped(archive: Path, offset: int, size: int) -> bytes:
    """The member of a zip whose header is at ``offset``."""
    with archive.open("rb") as file:
        file.seek(offset)
        flags, method, name, extra = struct.unpack("<6xHH16xHH", file.read(30))
        file.seek(name + extra, os.SEEK_CUR)
        if flags & 1 or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("is encrypted, or not compressed as zips usually are")
        if method == zipfile.ZIP_STORED:
            return file.read(size)
        inflate, content = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
        while len(content) < size and (compressed := file.read(2**16)):
            content += inflate.decompress(compressed, size - len(content))
        return bytes(content)


_gunzipped = cache(Gunzipped)


def _ungzipped(archive: Path, offset: int, size: int) -> bytes:
    file = io.BufferedReader(_gunzipped(archive))
    file.seek(offset)
    return file.read(size)


def _is_whole(archive: tarfile.TarFile) -> bool:
    """Whether the archive ends as one should: with a block of zeros where a header would be.

    ``tarfile`` takes a missing or unreadable header for the end.
    """
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    return archive.fileobj.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
