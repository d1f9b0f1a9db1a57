"""Prepared images on disk: Arrow IPC shards that are memory-mapped and read without copies."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa

from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.data.statistics import Statistics
from alexnet_repro.errors import UsageError

FORMAT = 2


def schema(size: int) -> pa.Schema:
    """Columns of a shard: ``image`` is size × size × 3 bytes, RGB 0–255, row by row."""
    return pa.schema(
        [
            ("image", pa.binary(size * size * 3)),
            ("label", pa.int32()),
            ("name", pa.string()),
        ]
    )


class StoredSplit:
    """One split of a store: image (size, size, 3) uint8, label and source name by index."""

    def __init__(self, shards: list[Path], size: int) -> None:
        self.shards, self.size = shards, size
        self._open()

    def _open(self) -> None:
        batches = [
            reader.get_batch(i)
            for shard in self.shards
            for reader in [pa.ipc.open_file(pa.memory_map(str(shard)))]
            for i in range(reader.num_record_batches)
        ]
        shape = (-1, self.size, self.size, 3)
        self._images = [
            np.frombuffer(batch.column("image").buffers()[1], dtype=np.uint8).reshape(shape)
            for batch in batches
        ]
        labels = [batch.column("label").to_numpy() for batch in batches]
        self.labels = np.concatenate(labels, dtype=np.int64)
        self._names = [batch.column("name") for batch in batches]
        # Batches differ in length where images could not be read.
        self._ends = np.cumsum([len(batch_labels) for batch_labels in labels])

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Pixels:
        """A read-only view of image ``index``: (size, size, 3), RGB 0–255."""
        batch, row = self._place(index)
        image: Pixels = self._images[batch][row]
        return image

    def images(self) -> Iterator[Pixels]:
        return (image for images in self._images for image in images)

    def name(self, index: int) -> str:
        batch, row = self._place(index)
        return str(self._names[batch][row])

    def _place(self, index: int) -> tuple[int, int]:
        batch = int(np.searchsorted(self._ends, index, side="right"))
        return batch, index - (int(self._ends[batch - 1]) if batch else 0)

    # A worker started by spawn maps the files anew instead of receiving the pixels.
    def __getstate__(self) -> dict[str, Any]:
        return {"shards": self.shards, "size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["shards"], state["size"])  # type: ignore[misc]


@dataclass(frozen=True)
class Store:
    """A prepared set: its splits, classes in label order and training statistics.

    ``words`` say what each class is, if the source does.
    """

    directory: Path
    classes: tuple[str, ...]
    words: tuple[str, ...] | None
    image_size: int
    splits: dict[str, StoredSplit]
    statistics: Statistics


def shard_path(directory: Path, split: str, number: int) -> Path:
    return directory / f"{split}-{number:05d}.arrow"


def open_store(directory: Path) -> Store:
    """Open a finished store.

    Raises:
        UsageError: if its manifest or a file is missing, damaged or of another format version.
    """
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            raise UsageError(
                f"{directory}: format {manifest['format']}, this version reads {FORMAT}; "
                "delete the folder and it is prepared anew"
            )
        size, words = manifest["image_size"], manifest["words"]
        splits = {}
        for split, described in manifest["splits"].items():
            shards = [shard_path(directory, split, i) for i in range(described["shards"])]
            splits[split] = StoredSplit(shards, size)
            if len(splits[split]) != described["images"]:
                raise ValueError(f"{split} holds {len(splits[split])} of {described['images']}")
        return Store(
            directory=directory,
            classes=tuple(manifest["classes"]),
            words=None if words is None else tuple(words),
            image_size=size,
            splits=splits,
            statistics=Statistics.load(directory / "statistics.npz"),
        )
    except (
        OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, pa.ArrowInvalid,
    ) as error:  # fmt: skip
        raise UsageError(
            f"{directory}: damaged ({error}); delete the folder and it is prepared anew"
        ) from error
