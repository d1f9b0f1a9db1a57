"""Prepared images on disk: Arrow IPC shards that are memory-mapped and read without copies."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from alexnet_repro.data.preprocess import Orientation, Pixels
from alexnet_repro.data.statistics import Statistics
from alexnet_repro.errors import UsageError
from alexnet_repro.results.record import write_json

FORMAT = 3


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


class StoredSplit:
    """One split of a store: image (size, size, 3) uint8, label and source name by index."""

    def __init__(self, shards: list[Path], stored_as: StoredAs) -> None:
        self.shards, self.stored_as, self.size = shards, stored_as, stored_as.image_size
        batches = [
            reader.get_batch(i)
            for shard in shards
            for reader in [pa.ipc.open_file(pa.memory_map(str(shard)))]
            for i in range(reader.num_record_batches)
        ]
        read = RawImages if stored_as.encoding == "raw" else JpegImages
        self._images = [read(batch.column("image"), self.size) for batch in batches]
        labels = [batch.column("label").to_numpy() for batch in batches]
        self.labels = np.concatenate(labels, dtype=np.int64)
        self._names = [batch.column("name") for batch in batches]
        # Batches differ in length where images could not be read.
        self._ends = np.cumsum([len(batch_labels) for batch_labels in labels])

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Pixels:
        """Image ``index``: (size, size, 3), RGB 0–255; of a raw store a read-only view."""
        batch, row = self._place(index)
        return self._images[batch][row]

    def images(self) -> Iterator[Pixels]:
        return (images[row] for images in self._images for row in range(len(images)))

    def name(self, index: int) -> str:
        batch, row = self._place(index)
        return str(self._names[batch][row])

    def _place(self, index: int) -> tuple[int, int]:
        batch = int(self._ends.searchsorted(index, side="right"))
        return batch, int(index) - (int(self._ends[batch - 1]) if batch else 0)

    # A worker started by spawn maps the files anew instead of receiving the pixels.
    def __getstate__(self) -> dict[str, Any]:
        return {"shards": self.shards, "stored_as": self.stored_as}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["shards"], state["stored_as"])  # type: ignore[misc]


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
        import torch
        from torchvision.io import decode_jpeg

        # torch warns of read-only memory: 30 kilobytes are copied.
        file = self._data[self._offsets[row] : self._offsets[row + 1]].copy()
        image: Pixels = decode_jpeg(torch.from_numpy(file)).permute(1, 2, 0).numpy()
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
    shards: tuple["Shard", ...]


@dataclass(frozen=True)
class Shard:
    """A file of a store, as its manifest describes it."""

    file: str
    images: int
    sha256: str


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(
    path: Path,
    stored_as: StoredAs,
    classes: tuple[str, ...],
    words: tuple[str, ...] | None,
    splits: dict[str, list[Shard]],
    statistics: dict[str, Any],
) -> None:
    """Write what a store holds; ``classes`` in the order of their labels."""
    described = [{"name": name} for name in classes]
    if words is not None:
        described = [{**c, "words": w} for c, w in zip(described, words, strict=True)]
    manifest = {
        "format": FORMAT,
        **asdict(stored_as),
        "splits": {
            split: {
                "images": sum(shard.images for shard in shards),
                "shards": [asdict(shard) for shard in shards],
            }
            for split, shards in splits.items()
        },
        "statistics": statistics,
        "classes": described,
    }
    write_json(path, manifest)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a store.

    Raises:
        UsageError: if it is of another format version.
        OSError, ValueError, KeyError: if it is missing or damaged.
    """
    manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    if manifest["format"] != FORMAT:
        raise UsageError(
            f"{directory}: format {manifest['format']}, this version reads {FORMAT}; "
            "delete the folder and it is prepared anew"
        )
    return manifest


DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, pa.ArrowInvalid)
"""What reading a damaged store raises."""


def open_store(directory: Path) -> Store:
    """Open a finished store.

    Raises:
        UsageError: if its manifest or a file is missing, damaged or of another format version.
    """
    try:
        manifest = read_manifest(directory)
        stored_as = StoredAs(**{name: manifest[name] for name in StoredAs.__dataclass_fields__})
        splits: dict[str, StoredSplit] = {}
        files: list[Shard] = []
        for split, described in manifest["splits"].items():
            shards = [Shard(**shard) for shard in described["shards"]]
            splits[split] = StoredSplit([_beside(directory, s.file) for s in shards], stored_as)
            files += shards
            if len(splits[split]) != described["images"]:
                raise ValueError(f"{split} holds {len(splits[split])} of {described['images']}")
        statistics = Statistics.load(directory, manifest["statistics"])
        if statistics.mean_image.shape[:2] != (stored_as.image_size,) * 2:
            raise ValueError("the mean image is not of the size of the images")
        classes = manifest["classes"]
        words = [c["words"] for c in classes] if "words" in classes[0] else None
        return Store(
            directory=directory,
            classes=tuple(c["name"] for c in classes),
            words=None if words is None else tuple(words),
            stored_as=stored_as,
            splits=splits,
            statistics=statistics,
            shards=tuple(files),
        )
    except DAMAGE as error:
        raise UsageError(
            f"{directory}: damaged ({error}); delete the folder and it is prepared anew"
        ) from error


def _beside(directory: Path, name: str) -> Path:
    """A file of the store; a manifest cannot name one elsewhere."""
    if Path(name).name != name:
        raise ValueError(f"{name} is not the name of a file in it")
    return directory / name
