"""The shards of a store: read and preprocessed on all cores, written whole or not at all."""

import io
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from PIL import Image

from alexnet_repro.data.preprocess import Pixels, shorter_side_and_centre
from alexnet_repro.data.sources import Split
from alexnet_repro.data.statistics import Sums
from alexnet_repro.data.store import StoredAs, sha256
from alexnet_repro.results.record import write_json

IMAGES_PER_SHARD = 4096
IMAGES_PER_BATCH = 128
READING_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Batch:
    """Images that were read one after another: their rows, their sums and what was damaged."""

    rows: pa.RecordBatch
    sums: Sums
    damaged: list[str]


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


def write_shards(split: Split, wanted: list[Piece], stored_as: StoredAs) -> Iterator[Batch]:
    """Write shards of a split, yielding every batch when it is written.

    A shard appears under its name whole, after the files beside it (:func:`facts`,
    :func:`sums_of`): its name says that all of it is there. Batches are read ahead over the ends
    of shards, and a shard is checked and put to disk while the next one fills.
    """
    batches = [
        piece.indices[start : start + IMAGES_PER_BATCH]
        for piece in wanted
        for start in range(0, len(piece.indices), IMAGES_PER_BATCH)
    ]
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as readers, ThreadPoolExecutor(1) as closer:
        closing: list[Future[None]] = []
        try:
            read = _in_order(readers, lambda i: _read(split, i, stored_as), batches, cores + 2)
            for piece in wanted:
                yield from _write(piece, read, stored_as, closing, closer)
            for closed in closing:
                closed.result()
        finally:
            readers.shutdown(cancel_futures=True)


def _write(
    piece: Piece,
    read: Iterator[Batch],
    stored_as: StoredAs,
    closing: list[Future[None]],
    closer: ThreadPoolExecutor,
) -> Iterator[Batch]:
    # Another node may write the same shard at the same time.
    partial = piece.path.with_suffix(f".{socket.gethostname()}-{os.getpid()}.partial")
    sums = Sums.zero(stored_as.image_size, stored_as.image_size)
    damaged: list[str] = []
    with (
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, stored_as.schema) as writer,
    ):
        for _ in range(0, len(piece.indices), IMAGES_PER_BATCH):
            batch = next(read)
            if len(batch.rows):
                writer.write_batch(batch.rows)
            sums.merge(batch.sums)
            damaged += batch.damaged
            yield batch
    if len(closing) > 1:
        closing[-2].result()
    closing.append(closer.submit(_close, partial, piece.path, sums, damaged))


def _close(partial: Path, path: Path, sums: Sums, damaged: list[str]) -> None:
    facts = {"images": sums.count, "sha256": sha256(partial), "damaged": damaged}
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    sums.save(_sums_file(path))
    write_json(_facts_file(path), facts)
    partial.rename(path)


def facts(path: Path) -> dict[str, Any]:
    """Of a finished shard: ``images``, ``sha256`` and ``damaged`` (a line for each image)."""
    found: dict[str, Any] = json.loads(_facts_file(path).read_text())
    return found


def sums_of(path: Path) -> Sums:
    """Of the images of a finished shard."""
    return Sums.load(_sums_file(path))


def clear(directory: Path) -> None:
    """Delete what only an unfinished store needs."""
    for pattern in ("*.arrow.json", "*.sums.npz", "*.partial"):
        for path in directory.glob(pattern):
            path.unlink()


def _sums_file(shard: Path) -> Path:
    return shard.with_suffix(".sums.npz")


def _facts_file(shard: Path) -> Path:
    return shard.with_suffix(".arrow.json")


def _read(split: Split, indices: Sequence[int], stored_as: StoredAs) -> Batch:
    """Read and preprocess images. PIL releases the interpreter lock: threads use all cores."""
    size, orientation = stored_as.image_size, stored_as.exif_orientation
    images = np.empty((len(indices), size, size, 3), dtype=np.uint8)
    kept: list[int] = []
    damaged = []
    for index in indices:
        try:
            with split.open(index) as image:
                images[len(kept)] = shorter_side_and_centre(image, size, orientation)
            kept.append(index)
        except READING_ERRORS as error:
            damaged.append(f"{split.names[index]} ({error})")
    images = images[: len(kept)]
    sums = Sums.zero(size, size)
    sums.add(images)
    return Batch(_rows(images, split, kept, stored_as), sums, damaged)


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
    images = _read(split, indices, stored_as).rows.column("image")
    return [len(image) for image in images.to_pylist()]


def _jpeg(pixels: Pixels, quality: int | None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
) -> Iterator[Result]:
    """``pool.map`` that runs only a few items ahead, so that memory does not grow."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
