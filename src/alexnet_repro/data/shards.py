"""The shards of a store: read and preprocessed on all cores, written whole or not at all."""

import json
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import simplejpeg

from alexnet_repro.data.direct import DirectFile
from alexnet_repro.data.manifest import StoredAs
from alexnet_repro.data.parallel import on_all_cores
from alexnet_repro.data.preprocess import Pixels, shorter_side_and_centre
from alexnet_repro.data.sources import Split
from alexnet_repro.data.statistics import RunningSums, Sums
from alexnet_repro.results.record import write_json

IMAGES_PER_SHARD = 1024
IMAGES_PER_BATCH = 32

Written = tuple[int, list[str]]
"""Of a batch: how many images were read, and a line for each that could not be."""


@dataclass(frozen=True)
class Piece:
    """A shard to be written: images ``indices`` of a split, into ``path``."""

    path: Path
    indices: range


def pieces(directory: Path, split: str, length: int) -> list[Piece]:
    """The shards of a split of ``length`` images."""
    starts = range(0, length, IMAGES_PER_SHARD)
    return [
        Piece(
            directory / f"{split}-{number:05d}.arrow",
            range(start, min(start + IMAGES_PER_SHARD, length)),
        )
        for number, start in enumerate(starts)
    ]


def write_shards(split: Split, wanted: list[Piece], stored_as: StoredAs) -> Iterator[Written]:
    """Write shards of a split on all cores, yielding what became of every batch.

    A shard appears under its name whole, after the files beside it (:func:`facts`,
    :func:`sums_of`, :func:`labels_of`): its name says that all of it is there.
    """

    def work(claim: Callable[[], int]) -> Iterator[Written]:
        # The disk takes the end of a shard while the images of the next one are decoded.
        with ThreadPoolExecutor(1) as finishing:
            before: Future[None] | None = None
            while (number := claim()) < len(wanted):
                shard = _Shard(wanted[number].path, stored_as)
                try:
                    yield from shard.fill(split, wanted[number].indices)
                    if before is not None:
                        before.result()
                except BaseException:
                    shard.close()
                    raise
                before = finishing.submit(shard.finish)
            if before is not None:
                before.result()

    return on_all_cores(work, at_most=len(wanted))


class _Shard:
    """A shard while it is written."""

    def __init__(self, path: Path, stored_as: StoredAs) -> None:
        self._path, self._stored_as = path, stored_as
        # Another node may write the same shard at the same time.
        self._partial = path.with_suffix(f".{socket.gethostname()}-{os.getpid()}.partial")
        self._sums = RunningSums(stored_as.image_size, stored_as.image_size)
        self._damaged: list[str] = []
        self._labels: list[npt.NDArray[np.int32]] = []
        self._file = DirectFile(self._partial)

    def fill(self, split: Split, wanted: Sequence[int]) -> Iterator[Written]:
        """Read these images and write them, yielding what became of every batch."""
        with pa.ipc.new_file(pa.PythonFile(self._file, "w"), self._stored_as.schema) as writer:
            for start in range(0, len(wanted), IMAGES_PER_BATCH):
                indices = wanted[start : start + IMAGES_PER_BATCH]
                rows, unread = _read(split, indices, self._stored_as, self._sums)
                if len(rows):
                    writer.write_batch(rows)
                    self._labels.append(rows.column("label").to_numpy())
                self._damaged += unread
                yield len(rows), unread

    def finish(self) -> None:
        """Wait for the disk, and give the shard its name when all files beside it are there."""
        self.close()
        self._sums.sums().save(_sums_file(self._path))
        np.save(_labels_file(self._path), np.concatenate([np.zeros(0, np.int32), *self._labels]))
        facts = {
            "images": sum(map(len, self._labels)),
            "bytes": self._file.tell(),
            "xxh3_128": self._file.checksum,
            "damaged": self._damaged,
        }
        write_json(_facts_file(self._path), facts)
        self._partial.rename(self._path)

    def close(self) -> None:
        self._file.close()


def facts(path: Path) -> dict[str, Any]:
    """Of a finished shard: ``images``, ``bytes``, ``xxh3_128`` and ``damaged``, a line for each."""
    found: dict[str, Any] = json.loads(_facts_file(path).read_text())
    return found


def sums_of(path: Path) -> Sums:
    """Of the images of a finished shard."""
    return Sums.load(_sums_file(path))


def labels_of(path: Path) -> npt.NDArray[np.int32]:
    """Of the images of a finished shard."""
    labels: npt.NDArray[np.int32] = np.load(_labels_file(path), allow_pickle=False)
    return labels


def clear(directory: Path) -> None:
    """Delete what only an unfinished store needs."""
    for pattern in ("*.arrow.json", "*.sums.npz", "*.arrow.labels.npy", "*.partial"):
        for path in directory.glob(pattern):
            path.unlink()


def _sums_file(shard: Path) -> Path:
    return shard.with_suffix(".sums.npz")


def _labels_file(shard: Path) -> Path:
    return shard.with_suffix(".arrow.labels.npy")


def _facts_file(shard: Path) -> Path:
    return shard.with_suffix(".arrow.json")


def _read(
    split: Split, indices: Sequence[int], stored_as: StoredAs, sums: RunningSums | None = None
) -> tuple[pa.RecordBatch, list[str]]:
    """The rows of those images that can be read, which ``sums`` counts, and what cannot be read."""
    size, orientation = stored_as.image_size, stored_as.exif_orientation
    images = np.empty((len(indices), size, size, 3), dtype=np.uint8)
    kept: list[int] = []
    damaged = []

    for index in indices:
        try:
            with warnings.catch_warnings(action="ignore"), split.open(index) as image:
                pixels = shorter_side_and_centre(image, size, orientation)
        except MemoryError:  # that is the machine's, not the image's
            raise
        except Exception as error:  # a damaged file can make its decoder raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            damaged.append(f"{split.names[index]} ({reason})")
        else:
            images[len(kept)] = pixels
            kept.append(index)
            if sums is not None:
                sums.add(pixels)
    return _rows(images[: len(kept)], split, kept, stored_as), damaged


def _rows(images: Pixels, split: Split, indices: list[int], stored_as: StoredAs) -> pa.RecordBatch:
    schema = stored_as.schema
    if stored_as.encoding == "raw":
        image = pa.FixedSizeBinaryArray.from_buffers(
            schema.field("image").type, len(images), [None, pa.py_buffer(images)]
        )
    else:
        image = pa.array([_jpeg(pixels, stored_as.quality) for pixels in images], pa.binary())
    labels = pa.array([split.labels[i] for i in indices], pa.int32())
    names = pa.array([split.names[i] for i in indices], pa.string())
    return pa.record_batch([image, labels, names], schema=schema)


def encoded_sizes(split: Split, indices: list[int], stored_as: StoredAs) -> list[int]:
    """Bytes of each of these images as JPEG, of those that can be read."""
    rows, _ = _read(split, indices, stored_as)
    return [len(image) for image in rows.column("image").to_pylist()]


def _jpeg(pixels: Pixels, quality: int | None) -> bytes:
    file: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorsubsampling="420", fastdct=False
    )
    return file
