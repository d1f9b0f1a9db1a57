"""Prepared images on disk: Arrow IPC shards that are memory-mapped and read without copies.

A store is a folder of shards (``train-00000.arrow`` …), labels, the mean image, and
``manifest.json``, which says what is there. It may come from anybody: the manifest is checked
before it is believed.
"""

import functools
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import simplejpeg
import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alexnet_repro.base.console import counting, printable
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import unreadable
from alexnet_repro.base.schema import reason
from alexnet_repro.base.system import usable_cores
from alexnet_repro.data.preprocess import Orientation, Pixels
from alexnet_repro.data.statistics import MEAN_IMAGE, Statistics

log = logging.getLogger(__name__)

FORMAT = 4

Amount = Annotated[int, Field(ge=0, lt=2**48)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class StoredAs:
    """What the images of a store are.

    Attributes:
        image_size: pixels a side.
        encoding: ``raw``, or ``jpeg`` for a sixth of the space, decoded while reading.
        quality: of JPEG, 1–100; None for raw.
        exif_orientation: whether images were turned upright as their EXIF data say.
    """

    image_size: int
    encoding: Literal["raw", "jpeg"] = "raw"
    quality: int | None = None
    exif_orientation: Orientation = "ignore"

    @property
    def schema(self) -> pa.Schema:
        """Columns of a shard. Raw images are size × size × 3 bytes, RGB 0–255, row by row."""
        raw = self.encoding == "raw"
        image = pa.binary(self.image_size * self.image_size * 3) if raw else pa.binary()
        return pa.schema([("image", image), ("label", pa.int32()), ("name", pa.string())])


class Described(BaseModel):
    """Part of a manifest: the keys that it has, of the types that they have."""

    model_config = ConfigDict(extra="forbid", strict=True)


class File(Described):
    """A file of a store and its checksum (:func:`checksum`)."""

    file: str
    xxh3_128: str


class Shard(File):
    """A file of images."""

    images: Amount
    bytes: Amount


class SplitFiles(Described):
    """The files of a split: its shards in order, and the labels of all their images (int32)."""

    images: Amount
    labels: File
    shards: Annotated[list[Shard], Field(min_length=1)]

    @model_validator(mode="after")
    def images_are_those_of_the_shards(self) -> "SplitFiles":
        if self.images != sum(shard.images for shard in self.shards):
            raise ValueError("its shards hold another number of images")
        return self


class Class(Described):
    """A class by its name, and what it is where the name (a WordNet id) does not say it."""

    name: str
    words: str | None = None


class StatisticsValues(Described, extra="ignore"):
    """The principal components of the training set, and the checksum of its mean image.

    Older manifests have the mean colour and the covariance beside them.
    """

    eigenvalues: list[Finite]
    eigenvectors: list[list[Finite]]
    xxh3_128: str


class Drawn(Described):
    """How validation images were drawn from those of every class (:func:`sources.hold_out`)."""

    val_fraction: Finite
    split_seed: Amount


class Manifest(Described):
    """Every key of ``manifest.json``; classes in the order of their labels."""

    format: int
    image_size: Annotated[int, Field(ge=1, lt=2**15)]
    encoding: Literal["raw", "jpeg"]
    quality: Annotated[int, Field(ge=1, le=100)] | None
    exif_orientation: Orientation
    splits: Annotated[dict[Literal["train", "val", "test"], SplitFiles], Field(min_length=1)]
    statistics: StatisticsValues
    classes: Annotated[list[Class], Field(min_length=1)]
    drawn: Drawn | None = None

    @model_validator(mode="after")
    def all_classes_have_words_or_none(self) -> "Manifest":
        if len({one.words is None for one in self.classes}) > 1:
            raise ValueError("some of its classes have words and some have none")
        return self

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """The manifest of a store.

        Raises:
            UsageError: if it is of another format version.
            OSError, ValueError, KeyError, TypeError: if it is missing or damaged.
        """
        values = json.loads((directory / "manifest.json").read_text())
        if isinstance(values["format"], int) and values["format"] != FORMAT:
            raise UsageError(
                f"{directory}: format {values['format']}, this version reads {FORMAT}; "
                "delete the folder to have it prepared again"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ValueError(printable(f"manifest.json: {reason(error)}")) from error

    @property
    def stored_as(self) -> StoredAs:
        return StoredAs(self.image_size, self.encoding, self.quality, self.exif_orientation)

    @property
    def checksums(self) -> dict[str, str]:
        """The files of the store and what :func:`checksum` found when they were written."""
        written = {MEAN_IMAGE: self.statistics.xxh3_128}
        for split in self.splits.values():
            written |= {file.file: file.xxh3_128 for file in (split.labels, *split.shards)}
        return written


def checksum(path: Path) -> str:
    """XXH3 of 128 bits, of a file: as fast as it can be read."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class StoredSplit:
    """One split of a store: image (size, size, 3) uint8, label and source name by index.

    A shard is opened when the first of its images is asked for: to know where the images of a
    large set lie, its files would have to be read in thousands of places.

    Raises:
        OSError, ValueError: if a file is missing, not of its size or of other contents.
    """

    def __init__(self, directory: Path, files: SplitFiles, stored_as: StoredAs) -> None:
        self.directory, self.files, self.stored_as = directory, files, stored_as
        self.size = stored_as.image_size
        stored = np.load(_beside(directory, files.labels.file), allow_pickle=False)
        self.labels: npt.NDArray[np.int64] = stored.astype(np.int64)
        if self.labels.shape != (files.images,) or files.images == 0:
            raise ValueError(
                f"{files.labels.file} holds {self.labels.size} labels of {files.images} images"
            )
        self._ends = np.cumsum([shard.images for shard in files.shards])
        for shard in files.shards:
            found = _beside(directory, shard.file).stat().st_size
            if found != shard.bytes:
                raise ValueError(f"{shard.file} has {found} of {shard.bytes} bytes")
        first = files.shards[0].file
        if pa.ipc.open_file(pa.memory_map(str(directory / first))).schema != stored_as.schema:
            raise ValueError(f"{first} does not hold {stored_as.encoding} images of {self.size}")
        self._shard = functools.cache(self._open)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Pixels:
        """Image ``index``: (size, size, 3), RGB 0–255; of a raw store a read-only view."""
        shard, row = self._place(index)
        if self.stored_as.encoding == "raw":
            # A scalar of the column would be a copy.
            pixels, stored = self.size * self.size * 3, shard.column(0).slice(row, 1).chunk(0)
            view = np.frombuffer(stored.buffers()[1], np.uint8, pixels, stored.offset * pixels)
            return view.reshape(self.size, self.size, 3)
        image: Pixels = simplejpeg.decode_jpeg(shard.column(0)[row].as_py())
        if image.shape != (self.size, self.size, 3):
            raise ValueError(f"image of {image.shape} among those of {self.size} pixels a side")
        return image

    def images(self) -> Iterator[Pixels]:
        return map(self.image, range(len(self)))

    def name(self, index: int) -> str:
        shard, row = self._place(index)
        return str(shard.column("name")[row])

    def _place(self, index: int) -> tuple[pa.Table, int]:
        number = int(self._ends.searchsorted(index, side="right"))
        row = int(index) - int(self._ends[number]) + self.files.shards[number].images
        return self._shard(number), row

    def _open(self, number: int) -> pa.Table:
        shard = self.files.shards[number]
        try:
            table = pa.ipc.open_file(pa.memory_map(str(self.directory / shard.file))).read_all()
            # Otherwise a place that is written in the file could lie outside of it.
            table.validate(full=True)
            if table.num_rows != shard.images:
                raise ValueError(f"holds {table.num_rows} of {shard.images} images")
        except (OSError, ValueError, pa.ArrowException) as error:
            raise damaged(self.directory, error, shard.file) from error
        return table

    # A worker started by spawn maps the files anew instead of receiving the pixels.
    def __reduce__(self) -> tuple[Any, ...]:
        return StoredSplit, (self.directory, self.files, self.stored_as)


@dataclass(frozen=True)
class Store:
    """A prepared set: its splits, classes in label order and training statistics.

    ``words`` say what each class is, if the source does.
    """

    directory: Path
    classes: tuple[str, ...]
    words: tuple[str, ...] | None
    stored_as: StoredAs
    splits: dict[str, StoredSplit]
    statistics: Statistics


DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, RecursionError)
"""What reading a damaged store raises."""


def open_store(directory: Path) -> Store:
    """Open a finished store.

    Raises:
        UsageError: if its manifest or a file is missing, damaged or of another format version.
    """
    try:
        manifest = Manifest.read(directory)
        stored_as, classes = manifest.stored_as, manifest.classes
        splits: dict[str, StoredSplit] = {}
        for name, files in manifest.splits.items():
            split = splits[name] = StoredSplit(directory, files, stored_as)
            if not 0 <= split.labels.min() <= split.labels.max() < len(classes):
                raise ValueError(f"{files.labels.file} has labels that are no class")
        statistics = Statistics.load(directory, manifest.statistics.model_dump())
        if statistics.mean_image.shape[:2] != (stored_as.image_size,) * 2:
            raise ValueError("the mean image is not of the size of the images")
    except DAMAGE as error:
        raise damaged(directory, error) from error
    words = tuple(one.words for one in classes if one.words is not None)
    names = tuple(one.name for one in classes)
    return Store(directory, names, words or None, stored_as, splits, statistics)


def verify(directory: Path) -> None:
    """Compare every file of a store with its checksum.

    Raises:
        UsageError: naming the files that changed, or what else is wrong with the store.
    """
    if not directory.is_dir():
        raise UsageError(f"output={directory}: there is no such store")
    open_store(directory)
    expected = Manifest.read(directory).checksums
    changed = []
    with (
        counting("verify", len(expected), "files") as advance,
        ThreadPoolExecutor(usable_cores()) as pool,
    ):
        found = pool.map(checksum, (directory / file for file in expected))
        for (file, written), now in zip(expected.items(), found, strict=True):
            if now != written:
                changed.append(file)
            advance(1)
    if changed:
        raise UsageError(
            f"{directory}: {len(changed)} of {len(expected)} files differ from their checksum: "
            f"{', '.join(changed[:3])}{' …' if len(changed) > 3 else ''}; "
            "delete the folder to have it prepared again"
        )
    log.info("%s: all %d files are as they were written", directory, len(expected))


def damaged(directory: Path, error: Exception, file: str = "") -> UsageError:
    """What to say of an error in reading a store, or a file of it."""
    if told := unreadable(error, directory / file):
        return told
    if not (directory / "manifest.json").exists():
        return UsageError(f"{directory}: not a store: there is no manifest.json in it")
    reason = f"{file}: {error}" if file else error
    return UsageError(
        f"{directory}: damaged ({reason}); delete the folder to have it prepared again"
    )


def _beside(directory: Path, name: str) -> Path:
    """A file of the store; a manifest cannot name one elsewhere."""
    if Path(name).name != name:
        raise ValueError(f"{name} is not the name of a file in it")
    return directory / name
