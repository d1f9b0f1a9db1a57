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


@dataclass(frozen=True)
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


def class_members(top: Path, whole: str) -> Iterator[tuple[str, Member]]:
    """Class and place of every image of ``whole``, a tar of a tar per class, or of those tars."""
    path = top / whole
    if path.is_file():
        with opened(path) as outer:
            for info in outer:
                file = outer.extractfile(info) if info.name.endswith(".tar") else None
                if file is not None:
                    with opened(path, file) as inner:
                        for member in _files(inner, path, start=info.offset_data):
                            yield Path(info.name).stem, member
        return
    separate = sorted([*top.glob("n[0-9]*.tar"), *top.glob("train/n[0-9]*.tar")])
    if not separate:
        raise UsageError(f"data.source.root={top}: there is neither {whole} nor a tar per class")
    for path in separate:
        for member in members_of(path):
            yield path.stem, member


def members_of(path: Path) -> Iterator[Member]:
    """The files of a tar."""
    with opened(path) as archive:
        yield from _files(archive, path, start=0)


def _files(archive: tarfile.TarFile, path: Path, start: int) -> Iterator[Member]:
    """The files of a tar that begins at byte ``start`` of ``path``."""
    for info in archive:
        if info.isfile():
            yield Member(info.name, path, start + info.offset_data, info.size)


@contextmanager
def opened(path: Path, file: IO[bytes] | None = None) -> Iterator[tarfile.TarFile]:
    """An uncompressed tar, at ``path`` or inside it as ``file``; its errors name ``path``."""
    try:
        with tarfile.open(path if file is None else None, mode="r:", fileobj=file) as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise UsageError(f"{path}: damaged or incomplete archive ({error})") from error


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
