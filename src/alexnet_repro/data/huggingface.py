"""Data sets in the layouts of Hugging Face's ``datasets``, read from local files."""

import hashlib
import io
import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.sources import Source, Split, class_folders

log = logging.getLogger(__name__)

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing", "eval"),
}
"""What ``datasets`` calls the splits, in files and folders."""


def huggingface(root: str) -> Source:
    """Parquet files (``data/train-00000-of-00294.parquet`` …), or image folders by split and class.

    Parquet files hold columns ``image`` (``bytes`` and ``path``) and ``label``; class names are
    read from their metadata. Where all training images are named after WordNet ids, as those of
    imagenet-1k are, these are the classes, and the names are their words. A split without labels
    (-1) is left out.

    Raises:
        UsageError: naming what is missing or damaged.
    """
    top = Path(root).expanduser()
    files = {split: _parquet_files(top, names) for split, names in SPLIT_NAMES.items()}
    if files["train"] and files["val"]:
        return _parquet(top, {split: paths for split, paths in files.items() if paths})
    folders = {
        split: top / name
        for split, names in SPLIT_NAMES.items()
        for name in reversed(names)
        if (top / name).is_dir()
    }
    if not {"train", "val"} <= folders.keys():
        raise UsageError(
            f"data.source.root={root}: expected data/train-*.parquet and "
            "data/validation-*.parquet, or train/CLASS/image and validation/CLASS/image"
        )
    return class_folders(top, folders)


def _parquet_files(top: Path, names: tuple[str, ...]) -> list[Path]:
    patterns = (
        f"{place}{name}{end}"
        for place in ("data/", "", "*/")
        for name in names
        for end in ("-*.parquet", ".parquet", "/*.parquet")
    )
    found: list[Path] = next(filter(None, (sorted(top.glob(p)) for p in patterns)), [])
    return found


def _parquet(top: Path, files: dict[str, list[Path]]) -> Source:
    try:
        tables = {split: _Table(paths) for split, paths in files.items()}
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise UsageError(
            f"{top}: a Parquet file is damaged or has no image and label ({error})"
        ) from error
    splits = {}
    for split, table in tables.items():
        if (table.labels < 0).any():
            log.warning("%s: the images of %s have no labels: left out", top, split)
        else:
            names = [f"{split}/{i:08d} {path}".rstrip() for i, path in enumerate(table.paths)]
            splits[split] = Split(names, table.labels.tolist(), table.open)
    if not {"train", "val"} <= splits.keys():
        raise UsageError(f"{top}: training and validation images need labels")
    words = _class_names(files["train"][0], tables)
    wnids = _wordnet_ids(tables["train"], len(words))
    digest = hashlib.sha256()
    for split, paths in files.items():
        for path in paths:
            digest.update(f"{split}\0{path.name}\0{path.stat().st_size}\n".encode())
        digest.update(tables[split].labels.tobytes())
    if wnids is None:
        return Source(words, splits, digest.hexdigest())
    return Source(wnids, splits, digest.hexdigest(), words)


class _Table:
    """The rows of some Parquet files; images are read a row group at a time.

    Attributes:
        labels: of all rows; -1 for none.
        paths: names that the images had, or empty.
    """

    def __init__(self, files: list[Path]) -> None:
        self._places: list[tuple[Path, int]] = []
        ends, labels, self.paths = [0], [], list[str]()
        for path in files:
            file = pq.ParquetFile(path)
            for group in range(file.num_row_groups):
                self._places.append((path, group))
                ends.append(ends[-1] + file.metadata.row_group(group).num_rows)
            labels.append(file.read(["label"])["label"].to_numpy())
            paths = pc.struct_field(file.read(["image.path"])["image"], "path")
            self.paths += pc.fill_null(paths.cast(pa.string()), "").to_pylist()
        self._ends = np.array(ends)
        self.labels = np.concatenate(labels).astype(np.int64)
        self._lock = Lock()
        # Several threads read neighbouring rows: the groups that they are in.
        self._group: Callable[[int], Any] = lru_cache(maxsize=4)(self._read)

    def open(self, index: int) -> Image.Image:
        group = int(np.searchsorted(self._ends, index, side="right")) - 1
        with self._lock:
            images = self._group(group)
        content = images[index - int(self._ends[group])].as_py()
        if content is None:
            raise ValueError("holds no image bytes")
        return Image.open(io.BytesIO(content))

    def _read(self, group: int) -> Any:
        path, number = self._places[group]
        table = pq.ParquetFile(path).read_row_group(number, ["image.bytes"])
        return pc.struct_field(table["image"], "bytes")


def _class_names(file: Path, tables: dict[str, _Table]) -> tuple[str, ...]:
    """The names of the labels; two classes of one name get their number behind it."""
    count = 1 + max(int(table.labels.max()) for table in tables.values())
    metadata = pq.read_schema(file).metadata or {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = [str(name) for name in features["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        log.warning("%s names no classes: they are called by their number", file.name)
        names = [f"{label:0{len(str(count - 1))}d}" for label in range(count)]
    if len(names) < count:
        raise UsageError(f"{file}: names {len(names)} classes, but there is a label {count - 1}")
    twice = {name for name, number in Counter(names).items() if number > 1}
    return tuple(f"{n} ({label})" if n in twice else n for label, n in enumerate(names))


def _wordnet_ids(train: _Table, classes: int) -> tuple[str, ...] | None:
    """The WordNet id of every label, if all names of training images begin with that of theirs."""
    wnid_of: dict[int, str] = {}
    for path, label in zip(train.paths, train.labels.tolist(), strict=True):
        found = re.match(r"n\d{8}(?=_)", Path(path).name)
        if found is None or wnid_of.setdefault(label, found[0]) != found[0]:
            return None
    if len(wnid_of) != classes or len(set(wnid_of.values())) != classes:
        return None
    return tuple(wnid_of[label] for label in range(classes))
