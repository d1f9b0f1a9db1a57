"""From labelled images to a store: preprocessing of §3, once, on all cores, to be gone on with."""

import hashlib
import json
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from filelock import FileLock
from PIL import Image
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from alexnet_repro.console import console
from alexnet_repro.data.preprocess import Pixels, shorter_side_and_centre
from alexnet_repro.data.sources import Source, Split
from alexnet_repro.data.statistics import Statistics, Sums
from alexnet_repro.data.store import FORMAT, Store, open_store, schema, shard_path
from alexnet_repro.errors import UsageError
from alexnet_repro.results.record import write_json

log = logging.getLogger(__name__)

IMAGES_PER_SHARD = 4096
IMAGES_PER_BATCH = 64
SECONDS_BETWEEN_LINES = 30.0
READING_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)

Item = TypeVar("Item")
Result = TypeVar("Result")


def prepare(source: Source, image_size: int, directory: Path, max_damaged: int = 0) -> Store:
    """Preprocess every image of ``source`` (§3) into the store ``directory``, once.

    The store grows in a folder ``….unfinished`` beside it, shard by shard: a preparation that was
    killed at any moment goes on after its last complete shard. Images that cannot be read are left
    out and listed in ``damaged.txt``. What the store holds does not depend on cores or
    interruptions.

    Raises:
        UsageError: naming the first of more than ``max_damaged`` images that cannot be read, how
            much disk is missing, or a folder that belongs to other images.
    """
    # A finished store is only read: it may lie where nothing can be written.
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        # Of two processes that want the same store, one makes it and the other waits for it.
        with FileLock(directory.with_name(f".{directory.name}.lock")):
            if not directory.exists():
                _make(source, image_size, directory, max_damaged)
    _claim(directory, source, image_size)
    return open_store(directory)


def _make(source: Source, image_size: int, directory: Path, max_damaged: int) -> None:
    log.info("preparing %d pixels a side into %s", image_size, directory)
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    unfinished.mkdir(exist_ok=True)
    _claim(unfinished, source, image_size)
    # The manifest is written last: where it is, only the clearing up is left to do.
    if not (unfinished / "manifest.json").exists():
        _check_disk(source, image_size, unfinished)
        _fill(source, image_size, unfinished, max_damaged)
    for beside in [*unfinished.glob("*.sums.npz"), *unfinished.glob("*.damaged.json")]:
        beside.unlink()
    unfinished.rename(directory)


def cached(
    source: Source, image_size: int, cache_dir: Path, name: str, max_damaged: int = 0
) -> Store:
    """The store of ``source`` under ``cache_dir``, made if it is not there yet.

    It is named after the set, its size and the source's fingerprint, so that changed images make
    another store.
    """
    key = hashlib.sha256(f"{FORMAT}:{source.fingerprint}:{image_size}".encode()).hexdigest()[:12]
    return prepare(source, image_size, cache_dir / f"{name}-{image_size}-{key}", max_damaged)


def _claim(directory: Path, source: Source, image_size: int) -> None:
    """Write down what the folder is made from, or check that it is the same."""
    path = directory / "source.json"
    made_from = {"fingerprint": source.fingerprint, "image_size": image_size}
    if not path.exists():
        if any(directory.iterdir()):
            raise UsageError(f"{directory}: the folder holds something else; choose another one")
        write_json(path, made_from)
    elif json.loads(path.read_text()) != made_from:
        raise UsageError(
            f"{directory}: made from other images or at another size; delete it or choose another"
        )


def _check_disk(source: Source, image_size: int, unfinished: Path) -> None:
    images = sum(len(split.names) for split in source.splits.values())
    written = sum(path.stat().st_size for path in unfinished.glob("*.arrow"))
    needed = images * image_size * image_size * 3 - written
    free = shutil.disk_usage(unfinished).free
    if needed > free:
        raise UsageError(
            f"{unfinished.parent}: {images} images at {image_size} pixels need "
            f"{needed / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free"
        )


def _fill(source: Source, image_size: int, directory: Path, max_damaged: int) -> None:
    described: dict[str, dict[str, int]] = {}
    damaged: list[str] = []
    sums = Sums.zero(image_size, image_size)
    for name, split in source.splits.items():
        before = len(damaged)
        shards = range(0, len(split.names), IMAGES_PER_SHARD)
        with _progress(name, len(split.names)) as advance:
            for number, start in enumerate(shards):
                indices = range(start, min(start + IMAGES_PER_SHARD, len(split.names)))
                path = shard_path(directory, name, number)
                if path.exists():
                    advance(len(indices))
                else:
                    _write_shard(split, indices, image_size, path, advance)
                damaged += json.loads(_damaged_file(path).read_text())
                if len(damaged) > max_damaged:
                    raise UsageError(_too_many(damaged, max_damaged))
                if name == "train":
                    sums.merge(Sums.load(_sums_file(path)))
        readable = len(split.names) - (len(damaged) - before)
        if readable == 0:
            raise UsageError(f"{name}: not one of its {len(split.names)} images can be read")
        described[name] = {"images": readable, "shards": len(shards)}
    Statistics.of(sums).save(directory / "statistics.npz")
    if damaged:
        (directory / "damaged.txt").write_text("".join(f"{line}\n" for line in damaged))
        log.warning("%d images cannot be read: %s/damaged.txt", len(damaged), directory.stem)
    manifest = {
        "format": FORMAT,
        "image_size": image_size,
        "classes": source.classes,
        "words": source.words,
        "splits": described,
    }
    write_json(directory / "manifest.json", manifest)


def _too_many(damaged: list[str], max_damaged: int) -> str:
    shown = "; ".join(damaged[:3])
    return (
        f"{len(damaged)} images cannot be read: {shown}{' …' if len(damaged) > 3 else ''}; replace "
        f"or delete them, or leave up to N of them out with data.max_damaged=N (now {max_damaged})"
    )


def _sums_file(shard: Path) -> Path:
    return shard.with_suffix(".sums.npz")


def _damaged_file(shard: Path) -> Path:
    return shard.with_suffix(".damaged.json")


def _write_shard(
    split: Split, indices: range, size: int, path: Path, advance: Callable[[int], None]
) -> None:
    """Write the images ``indices`` and, beside them, their sums and the damaged ones."""
    sums, damaged = Sums.zero(size, size), []

    def preprocessed(index: int) -> Pixels | str:
        try:
            with split.open(index) as image:
                return shorter_side_and_centre(image, size)
        except READING_ERRORS as error:
            return f"{split.names[index]} ({error})"

    partial = path.with_suffix(".partial")
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        pa.OSFile(str(partial), "wb") as file,
        pa.ipc.new_file(file, schema(size)) as writer,
    ):
        results = _in_order(pool, preprocessed, indices)
        remaining = iter(indices)
        while batch := list(islice(remaining, IMAGES_PER_BATCH)):
            read = []
            for index, result in zip(batch, results, strict=False):
                if isinstance(result, str):
                    damaged.append(result)
                else:
                    read.append((index, result))
            if read:
                images = np.stack([pixels for _, pixels in read])
                sums.add(images)
                writer.write_batch(_rows(images, split, [index for index, _ in read]))
            advance(len(batch))
    sums.save(_sums_file(path))
    write_json(_damaged_file(path), damaged)
    # The name appears last and whole: it is what says that the shard is complete.
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.rename(path)


def _rows(images: Pixels, split: Split, indices: list[int]) -> pa.RecordBatch:
    columns = schema(images.shape[1])
    pixels = pa.FixedSizeBinaryArray.from_buffers(
        columns.field("image").type, len(images), [None, pa.py_buffer(images)]
    )
    labels = pa.array([split.labels[i] for i in indices], pa.int32())
    names = pa.array([split.names[i] for i in indices], pa.string())
    return pa.record_batch([pixels, labels, names], schema=columns)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """``pool.map`` that runs only a few batches ahead, so that memory does not grow.

    PIL releases the interpreter lock while it decodes and rescales: threads use all cores.
    """
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= 2 * IMAGES_PER_BATCH:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _progress(split: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line now and then elsewhere; yields what counts images as done."""
    bar = Progress(
        TextColumn(f"prepare {split}"),
        BarColumn(20),
        TextColumn("{task.completed}/{task.total}  {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task(split, total=total, speed="")
    started = told = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        now = time.monotonic()
        speed = f"{done / max(now - started, 1e-9):.0f} images/s"
        bar.update(task, completed=done, speed=speed)
        if bar.disable and now - told > SECONDS_BETWEEN_LINES:
            told = now
            left = timedelta(seconds=round((total - done) * (now - started) / done))
            log.info("prepare %s: %d of %d images, %s, %s left", split, done, total, speed, left)

    with bar:
        yield advance
