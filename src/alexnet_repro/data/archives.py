"""Images inside tar archives, found once and then read in place.

Nothing is unpacked: what an archive calls its members, and where it would have links point to, is
of no consequence. What it says of sizes and places is checked before it is believed.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.sources import Split, printable

LARGEST_IMAGE = 2**28
"""Bytes of a member that is read."""


@dataclass(frozen=True, slots=True)
class Member:
    """An image inside an archive: the bytes from ``offset`` on."""

    name: str
    archive: Path
    offset: int
    size: int

    def open(self) -> Image.Image:
        # Python sets memory aside for all that is asked for, were it there or not.
        if self.size > LARGEST_IMAGE:
            raise ValueError(f"is {self.size} bytes large, by its header")
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            return Image.open(io.BytesIO(file.read(self.size)))


Labelled = list[tuple[Member, int]]


def class_members(top: Path, whole: str, damaged: list[str]) -> Iterator[tuple[str, Member]]:
    """Class and place of every image of ``whole``, a tar of a tar per class, or of those tars.

    What is damaged or lies outside of the tars of classes is added to ``damaged``.

    Raises:
        UsageError: if there is no such tar, or if two are of one class.
    """
    seen: set[str] = set()
    path = top / whole
    if path.is_file():
        for outer, info in _headers(path, damaged):
            file = outer.extractfile(info) if info.name.endswith(".tar") else None
            if file is not None:
                wnid = _only(Path(info.name).stem, seen, path)
                for _, image in _headers(path, damaged, file, info.name):
                    place = info.offset_data + image.offset_data
                    yield wnid, Member(printable(image.name), path, place, image.size)
            else:
                damaged.append(f"{path.name}/{printable(info.name)} (lies in no tar of a class)")
        return
    separate = sorted([*top.glob("n[0-9]*.tar"), *top.glob("train/n[0-9]*.tar")])
    if not separate:
        raise UsageError(f"data.source.root={top}: there is neither {whole} nor a tar per class")
    for path in separate:
        wnid = _only(path.stem, seen, path)
        for member in members_of(path, damaged):
            yield wnid, member


def _only(wnid: str, seen: set[str], path: Path) -> str:
    if wnid in seen:
        raise UsageError(f"{path}: a second archive of class {wnid}; remove one of them")
    seen.add(wnid)
    return wnid


def members_of(path: Path, damaged: list[str]) -> Iterator[Member]:
    """The files of a tar; if it is damaged, it is added to ``damaged``."""
    for _, info in _headers(path, damaged):
        yield Member(printable(info.name), path, info.offset_data, info.size)


def _headers(
    path: Path, damaged: list[str], file: IO[bytes] | None = None, name: str = ""
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The files in an uncompressed tar, at ``path`` or inside it as ``file`` named ``name``.

    One that breaks off is read as far as it goes, and added to ``damaged``; so is what is neither
    a file nor a folder.
    """
    told = f"{path.name}/{printable(name)}" if name else path.name
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
                if info.isfile():
                    yield archive, info
                elif not info.isdir():
                    damaged.append(f"{told}/{printable(info.name)} (is a link or a device)")
            if not _is_whole(archive):
                damaged.append(f"{told} (breaks off at byte {archive.offset})")
    # Headers that are no headers can make tarfile raise anything, from within ``next``.
    except UsageError:
        raise
    except Exception as error:
        reason = printable(str(error)) or type(error).__name__
        damaged.append(f"{told} (damaged or incomplete archive: {reason})")


def _is_whole(archive: tarfile.TarFile) -> bool:
    """Whether the archive ends as one should: with a block of zeros where a header would be.

    ``tarfile`` takes a missing or unreadable header for the end.
    """
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    return archive.fileobj.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def split_of(images: Labelled) -> Split:
    """The images as a split of a source."""
    return Split(
        names=[member.name for member, _ in images],
        labels=[label for _, label in images],
        open=lambda i: images[i][0].open(),
    )


def fingerprint(splits: dict[str, Labelled]) -> str:
    """Changes with any image's split, label, name, archive, place or size."""
    digest = hashlib.sha256()
    for split, images in splits.items():
        for member, label in images:
            place = (split, label, member.name, member.archive.name, member.offset, member.size)
            digest.update(repr(place).encode())
    return digest.hexdigest()
