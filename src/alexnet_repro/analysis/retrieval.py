"""The three things that ``alexnet retrieve`` does: build an index, ask it, evaluate ways."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from alexnet_repro.analysis.comparison import Settings, compare, comparison_table
from alexnet_repro.analysis.features import (
    class_words,
    features,
    features_of_split,
    prepared_images,
)
from alexnet_repro.analysis.images import (
    Answered,
    Damaged,
    find_images,
    print_answers,
    read_image,
)
from alexnet_repro.analysis.index import open_index, write_index
from alexnet_repro.analysis.predictions import described, trained_network
from alexnet_repro.base.console import console
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import checksum, user_path, write_json
from alexnet_repro.base.record import provenance
from alexnet_repro.training.checkpoint import Trained

log = logging.getLogger(__name__)

Node = dict[str, Any]


def build(trained: Trained, data: Node, index: Path, batch_size: int) -> None:
    """Write an index of the training images' fc7 features."""
    store = prepared_images(data).store
    train, directory = store.splits["train"], user_path(index)
    batches = features_of_split(trained, train, batch_size, "features")
    write_index(
        directory,
        (batch["fc7"] for batch in batches),
        {
            "names": [train.name(i) for i in range(len(train))],
            "labels": train.labels.tolist(),
            "classes": class_words(store, trained),
            "checkpoint": str(trained.path.resolve()),
            "checkpoint_sha256": checksum(trained.path),
            **provenance("alexnet_repro.retrieve"),
        },
    )
    log.info(
        "%s: %d images; query it with: alexnet retrieve query IMAGE --index '%s'",
        directory,
        len(train),
        directory,
    )


def query(
    images: Sequence[str],
    index: Path,
    checkpoint: Path | None,
    neighbours: int,
    device: Literal["auto", "cpu", "gpu"],
    words: Path | None,
    as_json: bool,
) -> None:
    """Print the training images nearest to each image."""
    paths = [path for given in images for path in find_images(given)]
    opened = open_index(user_path(index))
    checkpoint = checkpoint or Path(opened.checkpoint)
    if not checkpoint.is_file():
        raise UsageError(f"{checkpoint}: there is no such checkpoint; add --checkpoint")
    opened.check_network(checkpoint)
    trained = trained_network(checkpoint, device, words)
    answers: list[Answered | Damaged] = []
    for path in paths:
        image = read_image(path, trained.image_size)
        if isinstance(image, Damaged):
            answers.append(image)
            continue
        vectors = features(trained, torch.from_numpy(np.array(image)[None]))["fc7"].numpy()
        (nearest,) = opened.nearest(vectors, neighbours)
        answers.append(Answered(path, [opened.described(*one) for one in nearest]))
    print_answers(answers, "queries", "nearest", as_json)


def evaluate(
    trained: Trained, data: Node, settings: Settings, batch_size: int, output: Path
) -> dict[str, Any]:
    """Compare ways to find images of the same class; the record, also in ``retrieval.json``."""
    images = prepared_images(data)
    record = {
        "format": 1,
        **provenance("alexnet_repro.retrieve"),
        "network": described(trained),
        "settings": asdict(settings),
        **compare(trained, images, settings, batch_size),
    }
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "retrieval.json", record)
    console.print(comparison_table(record), soft_wrap=False)
    log.info("%s", output / "retrieval.json")
    return record
