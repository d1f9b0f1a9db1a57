"""Prepared images on disk: Arrow IPC shards that are memory-mapped and read without copies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import simplejpeg

from alexnet_repro.data.manifest import Shard, StoredAs, labels_file, read_manifest
from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.data.statistics import Statistics
from alexnet_repro.errors import UsageError


class StoredSplit:
    """One split of a store: image (size, size, 3) uint8, label and source name by index.

    A shard is opened when the first of its images is asked for: to know where the images of a
    large set lie, its files would have to be read in thousands of places.

    Args:
        directory: of the store.
        shards: in order.
        labels: file of the labels of all images.
        stored_as: of the store.

    Raises:
        OSError, ValueError, KeyError: if a file is missing, not of its size or of other contents.
    """

    def __init__(
        self, directory: Path, shards: Sequence[Shard], labels: str, stored_as: StoredAs
    ) -> None:
        self.directory, self.shards, self.stored_as = directory, tuple(shards), stored_as
        self.size, self._labels = stored_as.image_size, labels
        stored = np.load(_beside(directory, labels), allow_pickle=False)
        self.labels: npt.NDArray[np.int64] = stored.astype(np.int64)
        self._ends = np.cumsum([shard.images for shard in shards])
        images = sum(shard.images for shard in shards)
        if self.labels.shape != (images,) or images == 0:
            raise ValueError(f"{labels} holds {self.labels.size} labels of {images} images")
        for shard in shards:
            found = _beside(directory, shard.file).stat().st_size
            if found != shard.bytes:
                raise ValueError(f"{shard.file} has {found} of {shard.bytes} bytes")
        first = _beside(directory, shards[0].file)
        if pa.ipc.open_file(pa.memory_map(str(first))).schema != stored_as.schema:
            raise ValueError(
                f"{first.name} does not hold {stored_as.encoding} images of {self.size}"
            )
        self._opened: dict[int, OpenedShard] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Pixels:
        """Image ``index``: (size, size, 3), RGB 0–255; of a raw store a read-only view."""
        shard, row = self._place(index)
        return shard.image(row)

    def images(self) -> Iterator[Pixels]:
        return map(self.image, range(len(self)))

    def name(self, index: int) -> str:
        shard, row = self._place(index)
        return shard.name(row)

    def _place(self, index: int) -> tuple["OpenedShard", int]:
        number = int(self._ends.searchsorted(index, side="right"))
        shard = self._opened.get(number)
        if shard is None:
            shard = OpenedShard(self.directory / self.shards[number].file, self.stored_as)
            self._opened[number] = shard
        return shard, int(index) - int(self._ends[number]) + self.shards[number].images

    # A worker started by spawn maps the files anew instead of receiving the pixels.
    def __getstate__(self) -> tuple[Any, ...]:
        return self.directory, self.shards, self._labels, self.stored_as

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]


class OpenedShard:
    """A memory-mapped shard.

    Raises:
        UsageError: if it is damaged.
    """

    def __init__(self, path: Path, stored_as: StoredAs) -> None:
        read = RawImages if stored_as.encoding == "raw" else JpegImages
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            self._images = [read(batch.column("image"), stored_as.image_size) for batch in batches]
        except DAMAGE as error:
            raise damaged(path.parent, f"{path.name}: {error}") from error
        self._names = [batch.column("name") for batch in batches]
        # Batches differ in length where images could not be read.
        self._ends = np.cumsum([len(images) for images in self._images])

    def image(self, row: int) -> Pixels:
        batch, row = self._place(row)
        return self._images[batch][row]

    def name(self, row: int) -> str:
        batch, row = self._place(row)
        return str(self._names[batch][row])

    def _place(self, row: int) -> tuple[int, int]:
        batch = int(self._ends.searchsorted(row, side="right"))
        return batch, row - (int(self._ends[batch - 1]) if batch else 0)


class RawImages:
    """The images of an Arrow array, as views of the memory-mapped file."""

    def __init__(self, array: pa.FixedSizeBinaryArray, size: int) -> None:
        pixels = np.frombuffer(array.buffers()[1], dtype=np.uint8)
        self._pixels = pixels.reshape(-1, size, size, 3)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, row: int) -> Pixels:
        image: Pixels = self._pixels[row]
        return image


class JpegImages:
    """The images of an Arrow array of JPEG files, decoded one by one."""

    def __init__(self, array: pa.BinaryArray, size: int) -> None:
        _, offsets, data = array.buffers()
        self._size, self._length = size, len(array)
        self._offsets: npt.NDArray[np.int32] = np.frombuffer(offsets, dtype=np.int32)
        self._data = np.frombuffer(data, dtype=np.uint8)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> Pixels:
        file = self._data[self._offsets[row] : self._offsets[row + 1]]
        image: Pixels = simplejpeg.decode_jpeg(file)
        if image.shape != (self._size, self._size, 3):
            raise ValueError(f"image of {image.shape} among those of {self._size} pixels a side")
        return image


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


DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    AttributeError,
    RecursionError,
    pa.ArrowInvalid,
)
"""What reading a damaged store raises."""


def open_store(directory: Path) -> Store:
    """Open a finished store.

    Raises:
        UsageError: if its manifest or a file is missing, damaged or of another format version.
    """
    try:
        manifest = read_manifest(directory)
        stored_as = StoredAs(**{name: manifest[name] for name in StoredAs.__dataclass_fields__})
        splits = {}
        for split, described in manifest["splits"].items():
            shards = [Shard(**shard) for shard in described["shards"]]
            splits[split] = StoredSplit(directory, shards, described["labels"]["file"], stored_as)
        statistics = Statistics.load(directory, manifest["statistics"])
        if statistics.mean_image.shape[:2] != (stored_as.image_size,) * 2:
            raise ValueError("the mean image is not of the size of the images")
        classes = manifest["classes"]
        for split, stored in splits.items():
            if not 0 <= stored.labels.min() <= stored.labels.max() < len(classes):
                raise ValueError(f"{labels_file(split)} has labels that are no class")
        words = [c["words"] for c in classes] if "words" in classes[0] else None
        return Store(
            directory=directory,
            classes=tuple(c["name"] for c in classes),
            words=None if words is None else tuple(words),
            stored_as=stored_as,
            splits=splits,
            statistics=statistics,
        )
    except DAMAGE as error:
        raise damaged(directory, str(error)) from error


def damaged(directory: Path, reason: str) -> UsageError:
    return UsageError(f"{directory}: damaged ({reason}); delete the folder and it is prepared anew")


def _beside(directory: Path, name: str) -> Path:
    """A file of the store; a manifest cannot name one elsewhere."""
    if Path(name).name != name:
        raise ValueError(f"{name} is not the name of a file in it")
    return directory / name
