"""The index of a training set on disk: its fc7 vectors, and what they are of.

A folder holds ``fc7.npy`` and ``index.json``, and may come from anybody.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss

from alexnet_repro.analysis.features import Vectors, read_vectors, write_vectors
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import checksum, write_json

FORMAT = 2
VECTORS, DESCRIPTION = "fc7.npy", "index.json"


@dataclass(frozen=True)
class ImageIndex:
    """Training images that can be searched by their fc7 features.

    Attributes:
        directory: of the index.
        vectors: (images, neurons).
        names, labels: of the images, in the order of the vectors.
        classes: what each label is, in words.
        checkpoint: path of the network's checkpoint when the index was built.
        checkpoint_sha256: of that file.
    """

    directory: Path
    vectors: Vectors
    names: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    checkpoint: str
    checkpoint_sha256: str

    def check_network(self, checkpoint: Path) -> None:
        """Raises UsageError unless the index was built with the network of this file."""
        if checksum(checkpoint) != self.checkpoint_sha256:
            raise UsageError(
                f"{checkpoint}: not the network that the index {self.directory} was built with"
            )

    def described(self, place: int, distance: float) -> dict[str, Any]:
        """An image of the index, for a table or JSON."""
        said = self.classes[self.labels[place]]
        return {"image": self.names[place], "class": said, "distance": distance}

    def nearest(self, vectors: Vectors, count: int) -> list[list[tuple[int, float]]]:
        """For each vector, places of the nearest images with their Euclidean distances.

        Raises:
            UsageError: if the vectors of the index have another number of neurons.
        """
        if vectors.shape[1] != self.vectors.shape[1]:
            raise UsageError(
                f"--index {self.directory}: its vectors have {self.vectors.shape[1]} numbers, "
                f"fc7 has {vectors.shape[1]}; build it again"
            )
        squared, places = faiss.knn(vectors, self.vectors, min(count, len(self.names)))
        return [
            [(int(place), float(distance) ** 0.5) for place, distance in zip(*row, strict=True)]
            for row in zip(places, squared.clip(min=0), strict=True)
        ]


def write_index(directory: Path, batches: Iterable[Vectors], description: dict[str, Any]) -> None:
    """Write the index of vectors that come in ``batches``, as many as ``description`` has names.

    The description is written last: without it the folder is no index.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / DESCRIPTION).unlink(missing_ok=True)
    of_layer = ({"fc7": vectors} for vectors in batches)
    write_vectors({"fc7": directory / VECTORS}, len(description["names"]), of_layer)
    write_json(directory / DESCRIPTION, {"format": FORMAT} | description)


def open_index(directory: Path) -> ImageIndex:
    """The index in ``directory``.

    Raises:
        UsageError: if it is missing or damaged, or of another format.
    """
    path = directory / DESCRIPTION
    if not path.is_file():
        raise UsageError(
            f"--index {directory}: there is no index; alexnet retrieve build makes one"
        )
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        if described["format"] != FORMAT:
            raise ValueError(f"format {described['format']}, this version reads {FORMAT}")
        names, labels = tuple(map(str, described["names"])), tuple(described["labels"])
        classes = tuple(map(str, described["classes"]))
        if len(names) != len(labels):
            raise ValueError("names and labels differ in number")
        if not all(isinstance(label, int) and 0 <= label < len(classes) for label in labels):
            raise ValueError("a label is not that of a class")
        return ImageIndex(
            directory=directory,
            vectors=read_vectors(directory / VECTORS, len(names)),
            names=names,
            labels=labels,
            classes=classes,
            checkpoint=str(described["checkpoint"]),
            checkpoint_sha256=str(described["checkpoint_sha256"]),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = " ".join(f"{error}".split())
        raise UsageError(f"--index {directory}: damaged ({reason}); build it again") from error
