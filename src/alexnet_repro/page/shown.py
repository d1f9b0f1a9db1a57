"""What the page to try a network is about: the network, and the images that it learned from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet_repro.analysis.features import features, prepared_images
from alexnet_repro.analysis.index import ImageIndex, open_index
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path
from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.data.store import StoredSplit
from alexnet_repro.training.checkpoint import Trained


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


@dataclass(frozen=True)
class Limits:
    """What the page shows of each, and takes.

    Attributes:
        neighbours, top: images and classes that are shown.
        megabytes: of an upload, 2^20 bytes each.
        megapixels: of its image.
    """

    neighbours: int
    top: int
    megabytes: float
    megapixels: float

    @property
    def bytes(self) -> int:
        """Of an upload."""
        return round(self.megabytes * 2**20)


def network_of(trained: Trained, index: Path | None, data: Mapping[str, Any] | None) -> Shown:
    """The network with its index and the images of the index.

    Args:
        data: the node of the images that the index was built of.

    Raises:
        UsageError: if they cannot be read, or do not belong together.
    """
    if index is None:
        return Shown(trained, None, None)
    opened = open_index(user_path(index))
    opened.check_network(trained.path)
    if data is None:
        return Shown(trained, opened, None)
    train = prepared_images(data).store.splits["train"]
    if [train.name(i) for i in range(len(train))] != list(opened.names):
        raise UsageError(f"data: not the images that the index {opened.directory} was built of")
    return Shown(trained, opened, train)


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
