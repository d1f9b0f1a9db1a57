"""From labelled images to a store: preprocessing of §3, once, on all cores, to be gone on with."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from alexnet_repro.console import counting
from alexnet_repro.data import shards
from alexnet_repro.data.manifest import (
    FORMAT,
    Shard,
    StoredAs,
    checksum,
    labels_file,
    write_manifest,
)
from alexnet_repro.data.shards import Piece
from alexnet_repro.data.sources import Source
from alexnet_repro.data.statistics import MEAN_IMAGE, Statistics, Sums
from alexnet_repro.data.store import Store, open_store
from alexnet_repro.errors import UsageError
from alexnet_repro.results.record import write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """The share of one of several nodes that prepare a store together: ``number`` of ``of``."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """From ``2/8``."""
        return cls(*map(int, text.split("/")))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def prepare(source: Source, stored_as: StoredAs, directory: Path, max_damaged: int = 0) -> Store:
    """Preprocess every image of ``source`` (§3) into the store ``directory``, once.

    The store grows in a folder ``….unfinished`` beside it, shard by shard: a preparation that was
    killed at any moment goes on after its last complete shards, and one that several nodes worked
    on (:func:`prepare_part`) is completed and merged. Images that cannot be read are left out and
    listed in ``damaged.txt``. What the store holds does not depend on cores, nodes or
    interruptions.

    Raises:
        UsageError: naming the first of more than ``max_damaged`` images that cannot be read, how
            much disk is missing, or a folder that belongs to other images.
    """
    # A finished store is only read: it may lie where nothing can be written.
    if not directory.exists():
        # Of two processes that want the same store, one makes it and the other waits for it.
        with _lock(directory):
            if not directory.exists():
                _make(source, stored_as, directory, max_damaged)
    _claim(directory, source, stored_as)
    return open_store(directory)


def prepare_part(
    source: Source, stored_as: StoredAs, directory: Path, max_damaged: int, part: Part
) -> int:
    """Write the shards of one of several nodes; :func:`prepare` merges them when all are there.

    Nodes share the folder of ``directory``, or each has its own and the folders ``….unfinished``
    are copied together. They need not agree on the number of parts.

    Returns:
        The number of shards of this part.

    Raises:
        UsageError: as :func:`prepare`; or if the store is finished already.
    """
    if directory.exists():
        raise UsageError(f"shard={part}: {directory} is finished already")
    with _lock(directory):
        unfinished = _unfinished(directory, source, stored_as)
    with _part_lock(directory, part):
        wanted = _wanted(source, unfinished, part)
        _check_disk(source, wanted, stored_as, unfinished)
        _fill(source, wanted, stored_as, max_damaged)
    return sum(map(len, wanted.values()))


def _lock(directory: Path) -> FileLock:
    directory.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(directory.with_name(f".{directory.name}.lock"))


def _part_lock(directory: Path, part: Part) -> FileLock:
    return FileLock(directory.with_name(f".{directory.name}.{part.number}-of-{part.of}.lock"))


@contextmanager
def _no_part_running(directory: Path) -> Iterator[None]:
    """Raise a UsageError if another process prepares a part of the store."""
    locks = list(directory.parent.glob(f".{directory.name}.*-of-*.lock"))
    for path in locks:
        try:
            FileLock(path).acquire(timeout=0).lock.release()
        except Timeout as error:
            part = path.name.removeprefix(f".{directory.name}.").removesuffix(".lock")
            raise UsageError(
                f"{directory}: shard={part.replace('-of-', '/')} is still being prepared"
            ) from error
    yield
    for path in locks:
        path.unlink(missing_ok=True)


def _make(source: Source, stored_as: StoredAs, directory: Path, max_damaged: int) -> None:
    log.info("preparing %d pixels a side into %s", stored_as.image_size, directory)
    unfinished = _unfinished(directory, source, stored_as)
    # The manifest is written last: where it is, only the clearing up is left to do.
    if not (unfinished / "manifest.json").exists():
        with _no_part_running(directory):
            wanted = _wanted(source, unfinished)
            _check_disk(source, wanted, stored_as, unfinished)
            _fill(source, wanted, stored_as, max_damaged)
            _finish(source, wanted, stored_as, unfinished, max_damaged)
    shards.clear(unfinished)
    unfinished.rename(directory)


def cached(
    source: Source, stored_as: StoredAs, cache_dir: Path, name: str, max_damaged: int = 0
) -> Store:
    """The store of ``source`` under ``cache_dir``, made if it is not there yet.

    It is named after the set, its size and the source's fingerprint, so that changed images make
    another store.
    """
    described = json.dumps([FORMAT, source.fingerprint, asdict(stored_as)])
    key = hashlib.sha256(described.encode()).hexdigest()[:12]
    directory = cache_dir / f"{name}-{stored_as.image_size}-{key}"
    return prepare(source, stored_as, directory, max_damaged)


def _unfinished(directory: Path, source: Source, stored_as: StoredAs) -> Path:
    """The folder in which the store grows."""
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    unfinished.mkdir(exist_ok=True)
    _claim(unfinished, source, stored_as)
    return unfinished


def _claim(directory: Path, source: Source, stored_as: StoredAs) -> None:
    """Write down what the folder is made from, or check that it is the same."""
    path = directory / "source.json"
    made_from = {"fingerprint": source.fingerprint, **asdict(stored_as)}
    if not path.exists():
        if any(directory.iterdir()):
            raise UsageError(f"{directory}: the folder holds something else; choose another one")
        write_json(path, made_from)
    elif json.loads(path.read_text()) != made_from:
        raise UsageError(
            f"{directory}: made from other images, at another size or in another encoding; "
            "delete it or choose another"
        )


Wanted = dict[str, list[Piece]]


def _wanted(source: Source, unfinished: Path, part: Part | None = None) -> Wanted:
    """The shards of every split, or those of one part."""
    wanted: Wanted = {}
    before = 0
    for name, split in source.splits.items():
        of_split = shards.pieces(unfinished, name, len(split.names))
        wanted[name] = [
            piece
            for number, piece in enumerate(of_split, start=before)
            if part is None or number % part.of == part.number - 1
        ]
        before += len(of_split)
    return wanted


def _check_disk(source: Source, wanted: Wanted, stored_as: StoredAs, unfinished: Path) -> None:
    images = sum(len(piece.indices) for pieces in wanted.values() for piece in pieces)
    written = sum(
        piece.path.stat().st_size
        for pieces in wanted.values()
        for piece in pieces
        if piece.path.exists()
    )
    needed = images * _bytes_per_image(source, stored_as) - written
    free = shutil.disk_usage(unfinished).free
    told = (
        f"{unfinished}: {images} images at {stored_as.image_size} pixels need "
        f"{max(0.0, needed) / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free"
    )
    if needed > free:
        raise UsageError(told)
    log.info(told)


def _bytes_per_image(source: Source, stored_as: StoredAs) -> float:
    """On disk: exactly for raw images, from a sample of the training images for JPEG."""
    raw = stored_as.image_size**2 * 3
    if stored_as.encoding == "raw":
        return raw
    split = source.splits["train"]
    sample = np.linspace(0, len(split.names) - 1, num=32, dtype=int)
    sizes = shards.encoded_sizes(split, sample.tolist(), stored_as)
    return 1.1 * float(np.mean(sizes)) if sizes else raw


def _fill(source: Source, wanted: Wanted, stored_as: StoredAs, max_damaged: int) -> None:
    """Write the wanted shards that are not there yet."""
    damaged = list(source.damaged)
    for name, pieces in wanted.items():
        there = [piece for piece in pieces if piece.path.exists()]
        missing = [piece for piece in pieces if not piece.path.exists()]
        for piece in there:
            damaged += shards.facts(piece.path)["damaged"]
        _check_damaged(damaged, max_damaged)
        images = sum(len(piece.indices) for piece in missing)
        with counting(f"prepare {name}", images, "images") as advance:
            for read, unread in shards.write_shards(source.splits[name], missing, stored_as):
                damaged += unread
                _check_damaged(damaged, max_damaged)
                advance(read + len(unread))


def _finish(
    source: Source, wanted: Wanted, stored_as: StoredAs, unfinished: Path, max_damaged: int
) -> None:
    """Merge what was written beside the shards into statistics, report and manifest."""
    damaged = list(source.damaged)
    described: dict[str, list[Shard]] = {}
    sums = Sums.zero(stored_as.image_size, stored_as.image_size)
    for name, pieces in wanted.items():
        described[name] = []
        for piece in pieces:
            facts = shards.facts(piece.path)
            damaged += facts.pop("damaged")
            described[name].append(Shard(piece.path.name, **facts))
            if name == "train":
                sums.merge(shards.sums_of(piece.path))
        if not any(shard.images for shard in described[name]):
            asked = len(source.splits[name].names)
            raise UsageError(f"{name}: not one of its {asked} images can be read")
        labels = np.concatenate([shards.labels_of(piece.path) for piece in pieces])
        np.save(unfinished / labels_file(name), labels)
    _check_damaged(damaged, max_damaged)
    if damaged:
        (unfinished / "damaged.txt").write_text("".join(f"{line}\n" for line in damaged))
        log.warning("%d images cannot be read: %s/damaged.txt", len(damaged), unfinished.stem)
    statistics = Statistics.of(sums).save(unfinished)
    statistics["xxh3_128"] = checksum(unfinished / MEAN_IMAGE)
    path = unfinished / "manifest.json"
    write_manifest(path, stored_as, source.classes, source.words, described, statistics)


def _check_damaged(damaged: list[str], max_damaged: int) -> None:
    if len(damaged) > max_damaged:
        shown = "; ".join(damaged[:3])
        raise UsageError(
            f"{len(damaged)} images cannot be read: {shown}{' …' if len(damaged) > 3 else ''}; "
            "replace or delete them, or leave up to N of them out with data.max_damaged=N "
            f"(now {max_damaged})"
        )
