"""The three things that ``alexnet_repro.retrieve`` does: build an index, ask it, evaluate ways."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from rich.table import Table

from alexnet_repro.console import console
from alexnet_repro.errors import UsageError
from alexnet_repro.results.record import checksum, provenance, write_json
from alexnet_repro.seeing.comparison import compare, comparison_table
from alexnet_repro.seeing.comparison_picture import draw_comparison
from alexnet_repro.seeing.features import (
    class_words,
    features,
    features_of_split,
    labelled_images,
)
from alexnet_repro.seeing.images import Damaged, end_with_damaged, find_images, read_image
from alexnet_repro.seeing.index import ImageIndex, open_index, write_index
from alexnet_repro.seeing.paper_style import paper_style, save
from alexnet_repro.seeing.predictions import described, trained_with_words

log = logging.getLogger(__name__)


def build(values: Mapping[str, Any]) -> None:
    """Write an index of the training images' fc7 features into ``index``."""
    trained = trained_with_words(values)
    store = labelled_images(values["data"], trained).store
    train, directory = store.splits["train"], Path(values["index"]).expanduser()
    batches = features_of_split(trained, train, values["batch_size"], "features")
    write_index(
        directory,
        (batch["fc7"] for batch in batches),
        {
            "names": [train.name(i) for i in range(len(train))],
            "labels": train.labels.tolist(),
            "classes": class_words(store, trained),
            "checkpoint": str(trained.path.resolve()),
            "checkpoint_sha256": checksum(trained.path),
            **provenance("alexnet_repro.retrieve", HydraConfig.get().overrides.task),
        },
    )
    log.info("%s: %d images; ask it with query=IMAGE index='%s'", directory, len(train), directory)


def query(values: Mapping[str, Any]) -> None:
    """Print the training images nearest to each image of ``query``."""
    paths = find_images(values["query"], "query")
    index = open_index(Path(values["index"]).expanduser())
    checkpoint = Path(values["checkpoint"] or index.checkpoint).expanduser()
    if not checkpoint.is_file():
        raise UsageError(f"{checkpoint}: there is no such checkpoint; add checkpoint=…")
    index.check_network(checkpoint)
    trained = trained_with_words({**values, "checkpoint": str(checkpoint)})
    found, damaged = [], []
    for path in paths:
        image = read_image(path, trained.image_size)
        if isinstance(image, Damaged):
            damaged.append(image)
            continue
        vectors = features(trained, torch.from_numpy(np.array(image)[None]))["fc7"].numpy()
        (nearest,) = index.nearest(vectors, values["neighbours"])
        found.append((path, nearest))
    _show(index, found, damaged, values["json"])
    end_with_damaged(damaged, len(paths))


def _show(
    index: ImageIndex,
    found: list[tuple[Path, list[tuple[int, float]]]],
    damaged: list[Damaged],
    as_json: bool,
) -> None:
    if as_json:
        queries = [
            {
                "image": str(path),
                "nearest": [
                    {
                        "image": index.names[place],
                        "class": index.classes[index.labels[place]],
                        "distance": distance,
                    }
                    for place, distance in nearest
                ],
            }
            for path, nearest in found
        ]
        told = [{"image": str(one.path), "reason": one.reason} for one in damaged]
        print(json.dumps({"queries": queries, "damaged": told}, indent=1))
        return
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for header in ("query", "nearest", "class", "distance"):
        table.add_column(header, justify="right" if header == "distance" else "left")
    for path, nearest in found:
        first = str(path)
        for place, distance in nearest:
            said = index.classes[index.labels[place]]
            table.add_row(first, index.names[place], said, f"{distance:.2f}")
            first = ""
    console.print(table)


def evaluate(values: Mapping[str, Any]) -> None:
    """Compare ways to find images of the same class; write ``retrieval.json`` and a picture."""
    trained = trained_with_words(values)
    data = labelled_images(values["data"], trained)
    settings = values["evaluate"]
    compared = compare(trained, data, values)
    record = {
        "format": 1,
        **provenance("alexnet_repro.retrieve", HydraConfig.get().overrides.task),
        "network": described(trained),
        "settings": {key: value for key, value in settings.items() if key != "output"},
        **compared,
    }
    output = Path(settings["output"]).expanduser()
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "retrieval.json", record)
    console.print(comparison_table(record), soft_wrap=False)
    with paper_style():
        save(draw_comparison(record), output, "retrieval", settings["formats"], settings["dpi"])
    log.info("%s", output / "retrieval.json")
