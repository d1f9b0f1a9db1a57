"""What the page to try a network is about: the network, and the images that it learned from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.data.store import StoredSplit
from alexnet_repro.errors import UsageError
from alexnet_repro.learning.checkpoint import Trained
from alexnet_repro.seeing.features import features, labelled_images
from alexnet_repro.seeing.index import ImageIndex, open_index
from alexnet_repro.seeing.predictions import trained_with_words


@dataclass(frozen=True)
class Shown:
    """What the page is about.

    Attributes:
        trained: the network.
        index: of its training images, if there is one.
        pictures: the images of the index, if they are there.
    """

    trained: Trained
    index: ImageIndex | None
    pictures: StoredSplit | None


def network_of(values: Mapping[str, Any]) -> Shown:
    """The network, index and images of a validated configuration.

    Raises:
        UsageError: if they cannot be read, or do not belong together.
    """
    trained = trained_with_words(values)
    if values["index"] is None:
        return Shown(trained, None, None)
    index = open_index(Path(values["index"]).expanduser())
    index.check_network(trained.path)
    if values["data"] is None:
        return Shown(trained, index, None)
    train = labelled_images(values["data"], trained).store.splits["train"]
    if [train.name(i) for i in range(len(train))] != list(index.names):
        raise UsageError(f"data: not the images that index={index.directory} was built of")
    return Shown(trained, index, train)


def nearest(shown: Shown, image: Pixels, count: int) -> list[dict[str, Any]]:
    """The training images nearest to a stored image, nearest first; none without an index."""
    if shown.index is None:
        return []
    fc7 = features(shown.trained, torch.from_numpy(np.array(image)[None]))["fc7"].numpy()
    ((*found,),) = shown.index.nearest(fc7, count)
    return [
        {
            "name": shown.index.names[place],
            "class": shown.index.classes[shown.index.labels[place]],
            "distance": distance,
            "pixels": None if shown.pictures is None else shown.pictures.image(place),
        }
        for place, distance in found
    ]
