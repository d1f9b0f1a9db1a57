"""Prepared images on disk: Arrow IPC files that are memory-mapped and read without copies."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
from PIL import Image

from alexnet_repro.data import statistics
from alexnet_repro.data.preprocess import Pixels, shorter_side_and_centre
from alexnet_repro.data.sources import Source, Split
from alexnet_repro.data.statistics import Statistics
from alexnet_repro.errors import UsageError

log = logging.getLogger(__name__)

FORMAT = 1
ROWS_PER_BATCH = 64


class StoredSplit:
    """One split of a store: image (size, size, 3) uint8, label and source name by index."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._open()

    def _open(self) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(self.path)))
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        shape = (-1, self.size, self.size, 3)
        self._images = [
            np.frombuffer(batch.column("image").buffers()[1], dtype=np.uint8).reshape(shape)
            for batch in batches
        ]
        labels = [batch.column("label").to_numpy() for batch in batches]
        self.labels = np.concatenate(labels).astype(np.int64)
        self._names = [batch.column("name") for batch in batches]

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Pixels:
        """A read-only view of image ``index``: (size, size, 3), RGB 0–255."""
        batch, row = divmod(index, ROWS_PER_BATCH)
        image: Pixels = self._images[batch][row]
        return image

    def images(self) -> Iterator[Pixels]:
        return (self.image(i) for i in range(len(self)))

    def name(self, index: int) -> str:
        batch, row = divmod(index, ROWS_PER_BATCH)
        return str(self._names[batch][row])

    # A worker started by spawn maps the file anew instead of receiving the pixels.
    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["size"])  # type: ignore[misc]


@dataclass(frozen=True)
class Store:
    """A prepared set: its splits, classes in label order and training statistics."""

    directory: Path
    classes: tuple[str, ...]
    image_size: int
    splits: dict[str, StoredSplit]
    statistics: Statistics


def prepare(source: Source, image_size: int, cache_dir: Path, name: str) -> Store:
    """Preprocess every image of ``source`` (§3) into a store under ``cache_dir``, once.

    The store is keyed by the source's fingerprint and ``image_size``; one that is already there is
    opened. It is written under a temporary name and renamed when complete.

    Raises:
        UsageError: naming the images that cannot be read.
    """
    key = hashlib.sha256(f"{FORMAT}:{source.fingerprint}:{image_size}".encode()).hexdigest()[:12]
    directory = cache_dir / f"{name}-{image_size}-{key}"
    if not directory.exists():
        log.info("preparing %s at %d pixels into %s", name, image_size, directory)
        cache_dir.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache_dir))
        try:
            _write(source, image_size, unfinished)
            try:
                unfinished.rename(directory)
            except OSError:
                # Another process finished the same store first; ours is identical.
                if not directory.exists():
                    raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return open_store(directory)


def open_store(directory: Path) -> Store:
    """Open a store that :func:`prepare` wrote.

    Raises:
        UsageError: if its manifest or a file is missing or of another format version.
    """
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            raise UsageError(
                f"{directory}: format {manifest['format']}, this version reads {FORMAT}; "
                "delete the folder and it is prepared anew"
            )
        size = manifest["image_size"]
        return Store(
            directory=directory,
            classes=tuple(manifest["classes"]),
            image_size=size,
            splits={
                split: StoredSplit(directory / f"{split}.arrow", size)
                for split in manifest["splits"]
            },
            statistics=Statistics.load(directory / "statistics.npz"),
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        BadZipFile,
        pa.ArrowInvalid,
    ) as error:
        raise UsageError(
            f"{directory}: damaged ({error}); delete the folder and it is prepared anew"
        ) from error


def _write(source: Source, image_size: int, directory: Path) -> None:
    for split, images in source.splits.items():
        _write_split(images, image_size, directory / f"{split}.arrow")
    train = StoredSplit(directory / "train.arrow", image_size)
    statistics.measure(train.images()).save(directory / "statistics.npz")
    manifest = {
        "format": FORMAT,
        "image_size": image_size,
        "classes": source.classes,
        "words": source.words,
        "splits": {split: len(images.names) for split, images in source.splits.items()},
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1))


def _write_split(split: Split, image_size: int, path: Path) -> None:
    schema = pa.schema(
        [
            ("image", pa.binary(image_size * image_size * 3)),
            ("label", pa.int32()),
            ("name", pa.string()),
        ]
    )
    damaged: list[str] = []

    def preprocessed(index: int) -> bytes | None:
        try:
            with split.open(index) as image:
                return shorter_side_and_centre(image, image_size).tobytes()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            damaged.append(f"{split.names[index]} ({error})")
            return None

    # PIL releases the interpreter lock while it decodes and rescales.
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        indices = iter(range(len(split.names)))
        while rows := list(islice(indices, ROWS_PER_BATCH)):
            pixels = list(pool.map(preprocessed, rows))
            if not damaged:
                columns = [
                    pa.array(pixels, schema.field("image").type),
                    pa.array([split.labels[i] for i in rows], pa.int32()),
                    pa.array([split.names[i] for i in rows], pa.string()),
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))
    if damaged:
        shown = "; ".join(sorted(damaged)[:3])
        raise UsageError(
            f"{len(damaged)} images cannot be read: {shown}{' …' if len(damaged) > 3 else ''}; "
            "replace or delete them"
        )
