"""Data sets in the layouts of Hugging Face's ``datasets``, read from local files."""

import hashlib
import io
import json
import logging
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path
from alexnet_repro.data.sources import SPLIT_NAMES, Source, Split, folder
from alexnet_repro.data.webdataset import numbered, webdataset, wordnet_ids
from alexnet_repro.data.words import distinct

log = logging.getLogger(__name__)


def huggingface(root: str, classes: str | None = None) -> Source:
    """Parquet files (``data/train-00000-of-00294.parquet`` …), WebDataset shards, or image folders.

    Parquet files hold columns ``image`` (``bytes`` and ``path``) and ``label``, a number or a name;
    class names are read from their metadata. Where all training images are named after WordNet
    ids, as those of imagenet-1k are, these are the classes, and the names are their words. A split
    without labels (-1) is left out. For shards see :func:`webdataset.webdataset`, for image folders
    :func:`sources.folder`.

    Args:
        classes: of shards, a file that names the classes in the order of their numbers.

    Raises:
        UsageError: naming what is missing or damaged.
    """
    top = user_path(root)
    if parquet := _files(top, "parquet"):
        return _parquet(top, parquet)
    if shards := _files(top, "tar"):
        return webdataset(top, shards, classes)
    known = {name for names in SPLIT_NAMES.values() for name in names}
    if not top.is_dir() or not any(p.is_dir() and p.name.lower() in known for p in top.iterdir()):
        raise UsageError(
            f"data.source.root={root}: expected data/train-*.parquet and "
            "data/validation-*.parquet, *-train-*.tar and *-validation-*.tar, or "
            "train/CLASS/image and validation/CLASS/image"
        )
    return folder(root)


def _files(top: Path, kind: str) -> dict[str, list[Path]]:
    """The files of each split that are there; none, if training images come without others.

    Raises:
        UsageError: if there are training images, but none for validation.
    """
    found = {}
    for split, names in SPLIT_NAMES.items():
        patterns = (
            f"{place}{begin}{name}{end}.{kind}"
            for place in ("data/", "", "*/")
            for begin in ("", "*-", "*_")
            for name in names
            for end in ("-*", "", "_*", "/*")
        )
        if files := next(filter(None, (sorted(top.glob(pattern)) for pattern in patterns)), None):
            found[split] = files
    if "train" in found and "val" not in found:
        raise UsageError(f"{top}: there are training images, but no validation-*.{kind}")
    return found


def _parquet(top: Path, files: dict[str, list[Path]]) -> Source:
    try:
        tables = {split: _Table(paths) for split, paths in files.items()}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise UsageError(
            f"{top}: a Parquet file is damaged or has no image and label ({error})"
        ) from error
    words = _class_names(next(iter(files.values()))[0], tables)
    number = {label: i for i, name in enumerate(words) for label in (i, name)}
    digest, splits = hashlib.sha256(), {}
    for split, table in tables.items():
        labels = [number.get(label, -1) for label in table.labels]
        if -1 in labels:
            log.warning("%s: the images of %s have no labels: left out", top, split)
        else:
            names = [f"{split}/{i:08d} {path}".rstrip() for i, path in enumerate(table.paths)]
            splits[split] = Split(names, labels, table.open)
        for path in files[split]:
            digest.update(f"{split}\0{path.name}\0{path.stat().st_size}\n".encode())
        digest.update(np.array(labels, dtype=np.int64).tobytes())
    if "train" in tables and not {"train", "val"} <= splits.keys():
        raise UsageError(f"{top}: training and validation images need labels")
    if "train" in splits:
        wnids = wordnet_ids(tables["train"].paths, splits["train"].labels, len(words))
        if wnids is not None:
            return Source(wnids, splits, digest.hexdigest(), words)
    return Source(words, splits, digest.hexdigest())


class _Table:
    """The rows of some Parquet files; images are read a row group at a time.

    Attributes:
        labels: of all rows, numbers or names; -1, "" or None for none.
        paths: names that the images had, or empty.

    Raises:
        UsageError: if a label is neither a number nor a name.
    """

    def __init__(self, files: list[Path]) -> None:
        self._groups: list[tuple[Path, int]] = []
        self._begins: list[int] = []
        self.labels, self.paths = list[Any](), list[str]()
        for path in files:
            file, begin = pq.ParquetFile(path), len(self.labels)
            for group in range(file.num_row_groups):
                self._groups.append((path, group))
                self._begins.append(begin)
                begin += file.metadata.row_group(group).num_rows
            column = file.read(["label"])["label"]
            kinds = pa.types.is_integer, pa.types.is_string, pa.types.is_large_string
            if not any(is_of(column.type) for is_of in kinds):
                raise UsageError(
                    f"{path}: label is {column.type}; expected a number or a name for each image"
                )
            self.labels += column.to_pylist()
            paths = pc.struct_field(file.read(["image.path"])["image"], "path")
            self.paths += pc.fill_null(paths.cast(pa.string()), "").to_pylist()
        # A worker reads one row after the other.
        self._images: Callable[[int], Any] = lru_cache(maxsize=1)(self._read)

    def open(self, index: int) -> Image.Image:
        group = bisect_right(self._begins, index) - 1
        content = self._images(group)[index - self._begins[group]].as_py()
        if content is None:
            raise ValueError("holds no image bytes")
        return Image.open(io.BytesIO(content))

    def _read(self, group: int) -> Any:
        path, number = self._groups[group]
        table = pq.ParquetFile(path).read_row_group(number, ["image.bytes"])
        return pc.struct_field(table["image"], "bytes")


def _class_names(file: Path, tables: dict[str, _Table]) -> tuple[str, ...]:
    """The names of the labels; two classes of one name get their number behind it."""
    found = {label for table in tables.values() for label in table.labels} - {None, "", -1}
    if named := sorted(label for label in found if isinstance(label, str)):
        return tuple(named)
    count = 1 + max(map(int, found), default=-1)
    metadata = pq.read_schema(file).metadata or {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = [str(name) for name in features["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        log.warning("%s names no classes: they are called by their number", file.name)
        return numbered(count)
    return distinct(names, count, str(file))
