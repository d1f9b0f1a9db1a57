"""What a prepared store holds, as the file ``manifest.json`` in its folder describes it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import xxhash
from pydantic import ValidationError

from alexnet_repro.data.preprocess import Orientation
from alexnet_repro.data.sources import printable
from alexnet_repro.data.statistics import MEAN_IMAGE
from alexnet_repro.errors import UsageError
from alexnet_repro.results.record import write_json
from alexnet_repro.schema.store import ManifestSchema

FORMAT = 4


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


@dataclass(frozen=True)
class Shard:
    """A file of a store, as its manifest describes it."""

    file: str
    images: int
    bytes: int
    xxh3_128: str


def labels_file(split: str) -> str:
    """Name of the file with the labels of a split, in order: int32, a NumPy array."""
    return f"{split}-labels.npy"


def checksum(path: Path) -> str:
    """XXH3 of 128 bits, of a file: as fast as it can be read."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(
    path: Path,
    stored_as: StoredAs,
    classes: tuple[str, ...],
    words: tuple[str, ...] | None,
    splits: dict[str, list[Shard]],
    statistics: dict[str, Any],
) -> None:
    """Write what a store holds; ``classes`` in the order of their labels.

    The files of labels are in its folder already.
    """
    described = [{"name": name} for name in classes]
    if words is not None:
        described = [{**c, "words": w} for c, w in zip(described, words, strict=True)]
    manifest = {
        "format": FORMAT,
        **asdict(stored_as),
        "splits": {
            split: {
                "images": sum(shard.images for shard in shards),
                "labels": {"file": labels, "xxh3_128": checksum(path.parent / labels)},
                "shards": [asdict(shard) for shard in shards],
            }
            for split, shards in splits.items()
            for labels in [labels_file(split)]
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
    if isinstance(manifest["format"], int) and manifest["format"] != FORMAT:
        raise UsageError(
            f"{directory}: format {manifest['format']}, this version reads {FORMAT}; "
            "delete the folder and it is prepared anew"
        )
    try:
        ManifestSchema.model_validate(manifest)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(str(part) for part in wrong["loc"])
        raise ValueError(printable(f"manifest.json: {key}: {wrong['msg']}")) from error
    return manifest


def checksums(directory: Path) -> dict[str, str]:
    """The files of a store and what :func:`checksum` found when they were written."""
    manifest = read_manifest(directory)
    written = {MEAN_IMAGE: manifest["statistics"]["xxh3_128"]}
    for split in manifest["splits"].values():
        written |= {file["file"]: file["xxh3_128"] for file in (split["labels"], *split["shards"])}
    return written
