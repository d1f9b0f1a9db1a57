"""The index of a training set on disk: faiss's file of fc7 vectors, and what they are of.

A folder holds ``vectors.faiss`` and ``index.json``. Either may come from anybody: sizes are
compared with each other before faiss, which believes what a file says of itself, reads it.
"""

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss

from alexnet_repro.errors import UsageError
from alexnet_repro.results.record import checksum, write_json
from alexnet_repro.seeing.features import Vectors

FORMAT = 1
VECTORS, DESCRIPTION = "vectors.faiss", "index.json"

HEADER = struct.Struct("<4siqqq?iQ")
"""Of faiss's ``IndexFlatL2``: kind, dimension, vectors, two unused, trained, metric, numbers."""
KIND, EUCLIDEAN = b"IxF2", 1


@dataclass(frozen=True)
class ImageIndex:
    """Training images that can be searched by their fc7 features.

    Attributes:
        directory: of the index.
        faiss_index: of the vectors, by Euclidean distance.
        names, labels: of the images, in the order of the vectors.
        classes: what each label is, in words.
        checkpoint: path of the network's checkpoint when the index was built.
        checkpoint_sha256: of that file.
    """

    directory: Path
    faiss_index: Any
    names: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    checkpoint: str
    checkpoint_sha256: str

    def check_network(self, checkpoint: Path) -> None:
        """Raises UsageError unless the index was built with the network of this file."""
        if checksum(checkpoint) != self.checkpoint_sha256:
            raise UsageError(
                f"{checkpoint}: not the network that index={self.directory} was built with"
            )

    def nearest(self, vectors: Vectors, count: int) -> list[list[tuple[int, float]]]:
        """For each vector, places of the nearest images with their Euclidean distances."""
        squared, places = self.faiss_index.search(vectors, min(count, len(self.names)))
        return [
            [(int(place), float(distance) ** 0.5) for place, distance in zip(*row, strict=True)]
            for row in zip(places, squared.clip(min=0), strict=True)
        ]


def write_index(directory: Path, batches: Iterable[Vectors], description: dict[str, Any]) -> int:
    """Write the index of vectors that come in ``batches``; returns how many there were.

    The description is written last: without it the folder is no index.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DESCRIPTION).unlink(missing_ok=True)
    index = None
    for vectors in batches:
        index = index or faiss.IndexFlatL2(vectors.shape[1])
        index.add(vectors)
    assert index is not None
    faiss.write_index(index, str(directory / VECTORS))
    sizes = {"format": FORMAT, "vectors": index.ntotal, "dimension": index.d}
    write_json(directory / DESCRIPTION, sizes | description)
    return int(index.ntotal)


def open_index(directory: Path) -> ImageIndex:
    """The index in ``directory``.

    Raises:
        UsageError: if it is missing or damaged, or of another format.
    """
    path = directory / DESCRIPTION
    if not path.is_file():
        raise UsageError(
            f"index={directory}: there is no index; alexnet_repro.retrieve build makes one"
        )
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        if described["format"] != FORMAT:
            raise ValueError(f"format {described['format']}, this version reads {FORMAT}")
        names, labels = tuple(described["names"]), tuple(described["labels"])
        classes = tuple(map(str, described["classes"]))
        if not len(names) == len(labels) == described["vectors"]:
            raise ValueError("names, labels and vectors differ in number")
        if not all(isinstance(label, int) and 0 <= label < len(classes) for label in labels):
            raise ValueError("a label is not that of a class")
        _check_vectors(directory / VECTORS, described["vectors"], described["dimension"])
        return ImageIndex(
            directory=directory,
            faiss_index=faiss.read_index(str(directory / VECTORS)),
            names=tuple(map(str, names)),
            labels=labels,
            classes=classes,
            checkpoint=str(described["checkpoint"]),
            checkpoint_sha256=str(described["checkpoint_sha256"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, struct.error) as error:
        reason = " ".join(f"{error}".split())
        raise UsageError(f"index={directory}: damaged ({reason}); build it anew") from error


def _check_vectors(path: Path, vectors: int, dimension: int) -> None:
    """That a file is a faiss index of so many vectors, from its header and its size.

    Raises:
        OSError, ValueError, struct.error: if it is not.
    """
    with path.open("rb") as file:
        kind, d, count, _, _, trained, metric, numbers = HEADER.unpack(file.read(HEADER.size))
    if kind != KIND or not trained or metric != EUCLIDEAN:
        raise ValueError(f"{path.name} is not a flat faiss index of Euclidean distances")
    size = path.stat().st_size
    expected = (dimension, vectors, vectors * dimension, HEADER.size + 4 * vectors * dimension)
    if (d, count, numbers, size) != expected:
        raise ValueError(f"{path.name} does not hold {vectors} vectors of {dimension} numbers")
