"""From labelled images to a store: preprocessing of §3, once, on all cores, to be gone on with."""

import hashlib
import json
import logging
import multiprocessing
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import simplejpeg
import torch
from torch.utils.data import DataLoader, Dataset

from alexnet_repro.base.console import counting
from alexnet_repro.base.errors import UsageError, one_line
from alexnet_repro.base.files import all_of, check_room, locked, write_json, write_text
from alexnet_repro.base.system import keep_freed_memory, usable_cores
from alexnet_repro.data.preprocess import Pixels, shorter_side_and_centre
from alexnet_repro.data.sources import Source, Split
from alexnet_repro.data.statistics import MEAN_IMAGE, Statistics, Sums, save_array
from alexnet_repro.data.store import FORMAT, Manifest, Store, StoredAs, checksum, open_store

log = logging.getLogger(__name__)

IMAGES_PER_SHARD = 1024
IMAGES_PER_BATCH = 32
JPEG_SHARE = 1 / 6
"""Of the space of raw images, that photographs take as JPEG of quality 95, about."""
BESIDE_AN_IMAGE = 256
"""Bytes, at most about, that its name and label take in the files of a store."""


def prepare(
    source: Source,
    stored_as: StoredAs,
    directory: Path,
    max_damaged: int = 0,
    part: tuple[int, int] = (1, 1),
) -> Path:
    """Preprocess every image of ``source`` (§3) into the store ``directory``, once.

    The store grows in a folder ``….unfinished`` beside it, shard by shard: a preparation that was
    killed at any moment goes on after its last complete shards. Images that cannot be read are left
    out and listed in ``damaged.txt``. What the store holds does not depend on cores, parts or
    interruptions.

    Several nodes each write one ``part`` of it, in any order; then one prepares the whole, which
    finds their shards there. They share the folder of ``directory``, or the folders
    ``….unfinished`` are copied together, and need not agree on the number of parts.

    Args:
        part: (2, 8) for every eighth shard from the second on, without finishing the store.

    Returns:
        ``directory``; or the unfinished folder, after a part.

    Raises:
        UsageError: naming the first of more than ``max_damaged`` images that cannot be read, how
            much disk is missing, or a folder that belongs to other images.
    """
    number, of = part
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    # A finished store is only read: it may lie where nothing can be written.
    if not directory.exists():
        with locked(directory, shared=of > 1):
            if not directory.exists():
                size = stored_as.image_size
                log.info("preparing %d×%d images in %s", size, size, directory)
                shards = list(_shards(source, unfinished))
                _check_room(shards[number - 1 :: of], stored_as, directory.parent)
                unfinished.mkdir(exist_ok=True)
                _check_origin(unfinished, source, stored_as)
                for split in ("val", "test"):
                    if without := source.without(split):
                        told = "%s: no images of %d classes (%s …)"
                        log.info(told, split, len(without), without[0])
                # The manifest is written last: where it is, only the clearing up is left to do.
                merged = (unfinished / "manifest.json").exists()
                if not merged:
                    _write_missing(source, shards[number - 1 :: of], stored_as, max_damaged)
                if of > 1:
                    return unfinished
                if not merged:
                    _merge(source, shards, stored_as, unfinished, max_damaged)
                _clear(unfinished)
                unfinished.rename(directory)
    _check_origin(directory, source, stored_as)
    return directory


def cached(
    source: Source, stored_as: StoredAs, cache_dir: Path, name: str, max_damaged: int = 0
) -> Store:
    """The store of ``source`` under ``cache_dir``, made if it is not there yet."""
    directory = place_in_cache(source, stored_as, cache_dir, name)
    return open_store(prepare(source, stored_as, directory, max_damaged))


def place_in_cache(source: Source, stored_as: StoredAs, cache_dir: Path, name: str) -> Path:
    """Where :func:`cached` has the store.

    It is named after the set, its size and the source's fingerprint, so that changed images make
    another store.
    """
    described = json.dumps([FORMAT, source.fingerprint, asdict(stored_as)])
    key = hashlib.sha256(described.encode()).hexdigest()[:12]
    return cache_dir / f"{name}-{stored_as.image_size}-{key}"


def _check_origin(directory: Path, source: Source, stored_as: StoredAs) -> None:
    """Write down what the folder is made from, or check that it is the same."""
    path = directory / "source.json"
    made_from = {"fingerprint": source.fingerprint, **asdict(stored_as)}
    # Another part may be about to write the same.
    others = any(not path.name.startswith(".") for path in directory.iterdir())
    if not path.exists():
        if others:
            raise UsageError(f"{directory}: the folder holds something else; choose another one")
        write_json(path, made_from)
    elif json.loads(path.read_text()) != made_from:
        raise UsageError(
            f"{directory}: made from other images, at another size or in another encoding; "
            "delete it or choose another"
        )


@dataclass(frozen=True)
class _Shard:
    """A range of the images of a split, and the file for them.

    The shard is complete where the file of facts beside it is there.
    """

    path: Path
    split: str
    indices: range

    @property
    def facts_path(self) -> Path:
        return self.path.with_suffix(".facts.npz")

    @property
    def facts(self) -> dict[str, npt.NDArray[Any]]:
        """What :func:`_write` found of its images."""
        with np.load(self.facts_path, allow_pickle=False) as arrays:
            return dict(arrays)


def _shards(source: Source, directory: Path) -> Iterator[_Shard]:
    for name, split in source.splits.items():
        images = range(len(split.names))
        for number, start in enumerate(images[::IMAGES_PER_SHARD]):
            path = directory / f"{name}-{number:05d}.arrow"
            yield _Shard(path, name, images[start : start + IMAGES_PER_SHARD])


def _write_missing(
    source: Source, shards: Sequence[_Shard], stored_as: StoredAs, max_damaged: int
) -> None:
    """Write those shards that are not there yet, on all cores."""
    damaged, plain, missing = list(source.damaged), list[str](), list[_Shard]()
    for shard in shards:
        if shard.facts_path.exists():
            damaged += shard.facts["damaged"].tolist()
        else:
            missing.append(shard)
    _check_damaged(damaged, max_damaged)
    if not missing:
        return
    images = sum(len(shard.indices) for shard in missing)
    work, linux = _Work(source, missing, stored_as), sys.platform == "linux"
    loader = DataLoader(
        work,
        batch_size=None,
        # Elsewhere a forked process is not safe, and one that is started anew cannot open images.
        num_workers=min(usable_cores(), len(missing)) if linux else 0,
        multiprocessing_context="fork" if linux else None,
        prefetch_factor=1 if linux else None,
        in_order=False,
        worker_init_fn=_start_worker,
        # The other one decides how a network starts, whether its data were prepared before or not.
        generator=torch.Generator(),
    )
    try:
        with counting("prepare", images, "images") as advance:
            for written in loader:
                if isinstance(written, OSError):
                    raise written
                shard, unread, of_one_colour = written
                damaged += unread
                plain += of_one_colour
                _check_damaged(damaged, max_damaged)
                advance(len(shard.indices))
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise UsageError(
            "a worker died, probably out of memory; run the same command again to continue"
        ) from error
    finally:
        work.stopped.set()
    if plain:
        log.warning("%d images are of a single colour (%s …)", len(plain), min(plain))


class _Work(Dataset[tuple[_Shard, list[str], list[str]] | OSError]):
    """The shards to write, each an item that a worker of a DataLoader takes.

    Attributes:
        stopped: set where no worker is to go on.
    """

    def __init__(self, source: Source, shards: Sequence[_Shard], stored_as: StoredAs) -> None:
        self.source, self.shards, self.stored_as = source, shards, stored_as
        self.stopped = multiprocessing.Event()

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> tuple[_Shard, list[str], list[str]] | OSError:
        """Write a shard, and return it with what it found; or what the disk says.

        An exception would lose its number on the way, and with it the message for it.
        """
        try:
            return self.shards[index], *self._write(self.shards[index])
        except OSError as error:
            return error

    def _write(self, shard: _Shard) -> tuple[list[str], list[str]]:
        """A line for each image that cannot be read, and the names of those of a single colour."""
        size = self.stored_as.image_size
        sums, damaged, plain = Sums.zero(size, size), list[str](), list[str]()
        labels = [np.zeros(0, dtype=np.int32)]
        split = self.source.splits[shard.split]
        with all_of(shard.path) as partial:
            schema = self.stored_as.schema
            with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, schema) as writer:
                for start in range(0, len(shard.indices), IMAGES_PER_BATCH):
                    if self.stopped.is_set():
                        raise KeyboardInterrupt
                    indices = shard.indices[start : start + IMAGES_PER_BATCH]
                    images, kept, unread = _read(split, indices, self.stored_as)
                    damaged += unread
                    if kept:
                        rows = _rows(images, split, kept, self.stored_as)
                        writer.write_batch(rows)
                        labels.append(rows.column("label").to_numpy())
                        if shard.split == _measured(self.source):
                            sums.add(images)
                        plain += [
                            split.names[index]
                            for index, image in zip(kept, images, strict=True)
                            if _of_one_colour(image)
                        ]
            facts = {
                "images": sum(map(len, labels)),
                "bytes": partial.stat().st_size,
                "xxh3_128": checksum(partial),
                "damaged": np.array(damaged, dtype=np.str_),
                "labels": np.concatenate(labels),
                **vars(sums),
            }
        with all_of(shard.facts_path) as partial, partial.open("wb") as file:
            np.savez(file, **facts)
        return damaged, plain


def _of_one_colour(image: Pixels) -> bool:
    # Nearly every image has a second colour in its first row already.
    return all(bool((part == image[0, 0]).all()) for part in (image[0], image))


def _start_worker(number: int) -> None:
    # Ctrl-C is for the parent, which has its workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()


def _read(
    split: Split, indices: Sequence[int], stored_as: StoredAs
) -> tuple[Pixels, list[int], list[str]]:
    """Those images that can be read, their indices, and a line for each that cannot be read."""
    size, orientation = stored_as.image_size, stored_as.exif_orientation
    images = np.empty((len(indices), size, size, 3), dtype=np.uint8)
    kept: list[int] = []
    damaged = []
    for index in indices:
        try:
            with warnings.catch_warnings(action="ignore"), split.open(index) as image:
                images[len(kept)] = shorter_side_and_centre(image, size, orientation)
        except MemoryError:  # that is the machine's, not the image's
            raise
        except Exception as error:  # a damaged file can make its decoder raise anything
            damaged.append(f"{split.names[index]} ({one_line(error)})")
        else:
            kept.append(index)
    return images[: len(kept)], kept, damaged


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


def _jpeg(pixels: Pixels, quality: int | None) -> bytes:
    file: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality=quality, colorsubsampling="420", fastdct=False
    )
    return file


def _check_room(shards: Sequence[_Shard], stored_as: StoredAs, directory: Path) -> None:
    """Raises UsageError if those that are not there yet do not fit."""
    missing = [shard for shard in shards if not shard.facts_path.exists()]
    if not missing:
        return
    images, size = sum(len(shard.indices) for shard in missing), stored_as.image_size
    values, share = 3 * size**2, 1 if stored_as.encoding == "raw" else JPEG_SHARE
    # Of each shard the sums of its pixels, which have 8 bytes each, as those of the mean image.
    sums = 8 * values * (len(missing) + 1)
    needed = round(images * (share * values + BESIDE_AN_IMAGE)) + sums
    check_room(directory, needed, f"preparing {images} images at {size} pixels")


def _merge(
    source: Source,
    shards: Sequence[_Shard],
    stored_as: StoredAs,
    directory: Path,
    max_damaged: int,
) -> None:
    """From what was found of the shards: labels, statistics, report and, last, the manifest."""
    damaged = list(source.damaged)
    splits: dict[str, Any] = {}
    sums = Sums.zero(stored_as.image_size, stored_as.image_size)
    for name in source.splits:
        facts = {shard.path.name: shard.facts for shard in shards if shard.split == name}
        damaged += [line for one in facts.values() for line in one["damaged"].tolist()]
        images = sum(int(one["images"]) for one in facts.values())
        if images == 0:
            asked = len(source.splits[name].names)
            raise UsageError(f"{name}: not one of its {asked} images can be read")
        kept = np.concatenate([one["labels"] for one in facts.values()])
        without = set(range(len(source.classes))) - set(kept.tolist())
        if name == "train" and without:
            lost = source.classes[min(without)]
            raise UsageError(f"train: not one image of the class {lost!r} can be read")
        labels = f"{name}-labels.npy"
        save_array(directory / labels, kept)
        splits[name] = {
            "images": images,
            "labels": {"file": labels, "xxh3_128": checksum(directory / labels)},
            "shards": [
                {"file": file, **{key: one[key].item() for key in ("images", "bytes", "xxh3_128")}}
                for file, one in facts.items()
            ],
        }
        if name == _measured(source):
            for one in facts.values():
                sums.merge(Sums(int(one["count"]), one["pixels"], one["products"]))
    _check_damaged(damaged, max_damaged)
    if damaged:
        write_text(directory / "damaged.txt", "".join(f"{line}\n" for line in damaged))
        log.warning("%d images cannot be read: %s/damaged.txt", len(damaged), directory.stem)
    statistics = Statistics.of(sums).save(directory)
    statistics["xxh3_128"] = checksum(directory / MEAN_IMAGE)
    classes = [{"name": name} for name in source.classes]
    if source.words is not None:
        classes = [c | {"words": w} for c, w in zip(classes, source.words, strict=True)]
    manifest = {
        "format": FORMAT,
        **asdict(stored_as),
        **({} if source.drawn is None else {"drawn": dict(source.drawn)}),
        "splits": splits,
        "statistics": statistics,
        "classes": classes,
    }
    write_json(directory / "manifest.json", manifest)


def _measured(source: Source) -> str:
    """The split whose statistics are those of the store: the training images, if there are any."""
    return "train" if "train" in source.splits else next(iter(source.splits))


def _clear(directory: Path) -> None:
    """Delete what only an unfinished store needs, and what interruptions left."""
    kept = {"manifest.json", "source.json", "damaged.txt", *Manifest.read(directory).checksums}
    for path in directory.iterdir():
        if path.name not in kept:
            path.unlink()


def _check_damaged(damaged: list[str], max_damaged: int) -> None:
    if len(damaged) > max_damaged:
        shown = "; ".join(damaged[:3])
        raise UsageError(
            f"{len(damaged)} images cannot be read: {shown}{' …' if len(damaged) > 3 else ''}; "
            "replace or delete them, or leave up to N of them out with data.max_damaged=N "
            f"(now {max_damaged})"
        )
