"""Images inside tar archives, found once and then read in place."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from alexnet_repro.data.sources import Split
from alexnet_repro.errors import UsageError


@dataclass(frozen=True, slots=True)
class Member:
    """An image inside an archive: the bytes from ``offset`` on."""

    name: str
    archive: Path
    offset: int
    size: int

    def open(self) -> Image.Image:
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
        with opened(path, damaged) as outer:
            for info in outer:
                file = outer.extractfile(info) if info.name.endswith(".tar") else None
                if file is not None:
                    wnid = _only(Path(info.name).stem, seen, path)
                    with opened(path, damaged, file, info.name) as inner:
                        for member in _files(inner, path, start=info.offset_data):
                            yield wnid, member
                elif info.isfile():
                    damaged.append(f"{path.name}/{info.name} (lies in no tar of a class)")
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
    """The files of a tar."""
    with opened(path, damaged) as archive:
        yield from _files(archive, path, start=0)


def _files(archive: tarfile.TarFile, path: Path, start: int) -> Iterator[Member]:
    """The files of a tar that begins at byte ``start`` of ``path``."""
    while (info := archive.next()) is not None:
        # Otherwise tarfile keeps a kilobyte for every file.
        archive.members.clear()  # type: ignore[attr-defined]
        if info.isfile():
            yield Member(info.name, path, start + info.offset_data, info.size)


@contextmanager
def opened(
    path: Path, damaged: list[str], file: IO[bytes] | None = None, name: str = ""
) -> Iterator[tarfile.TarFile]:
    """An uncompressed tar, at ``path`` or inside it as ``file`` named ``name``.

    One that breaks off is read as far as it goes, and added to ``damaged``.
    """
    told = f"{path.name}/{name}" if name else path.name
    try:
        with tarfile.open(path if file is None else None, mode="r:", fileobj=file) as archive:
            yield archive
            if not _is_whole(archive):
                damaged.append(f"{told} (breaks off at byte {archive.offset})")
    except (tarfile.TarError, EOFError) as error:
        damaged.append(f"{told} (damaged or incomplete archive: {error})")


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
