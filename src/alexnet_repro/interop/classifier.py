"""A trained network with all that it takes to show it photographs, for other programs."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from alexnet_repro.base.build import Pixels, checks_arguments
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.augment import enlarged
from alexnet_repro.data.preprocess import shorter_side_and_centre
from alexnet_repro.training.checkpoint import Trained
from alexnet_repro.training.networks import NETWORKS, built


class Classifier(nn.Module):
    """Photographs as RGB 0–255 in, logits out: the mean is subtracted inside.

    Args:
        model: the network and its options, as the ``model`` part of a configuration.
        classes: their names, in the order of the logits.
        words: what each class is, if that is known.
        image_size: pixels a side of an image before its centre is cut out (§3).
        crop_size: pixels a side of what is cut out, and of what :meth:`forward` takes.
        input_size: pixels a side that the network reads; a smaller crop is enlarged (bilinear).
        network: the network itself; needed of a ``model`` that is not of this package, which is
            never built by its name.

    Shape: (batch, 3, crop, crop), RGB 0–255 → logits (batch, classes).

    Raises:
        UsageError: if the network is none of this package's and is not given.
        ValueError: if an argument cannot be right.
    """

    mean: Tensor

    @checks_arguments
    def __init__(
        self,
        model: Mapping[str, Any],
        classes: Sequence[str],
        words: Sequence[str] | None = None,
        image_size: Pixels = 256,
        crop_size: Pixels = 224,
        input_size: Pixels = 224,
        network: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if network is None and (target := model.get("_target_")) not in NETWORKS:
            raise UsageError(
                f"{target}: no network of this package ({', '.join(NETWORKS)}); give it as network="
            )
        self.network = built(model, len(classes)) if network is None else network
        self.classes, self.words = tuple(classes), None if words is None else tuple(words)
        self.image_size, self.crop_size, self.input_size = image_size, crop_size, input_size
        self.register_buffer("mean", torch.zeros(3, crop_size, crop_size))

    @classmethod
    def of(cls, trained: Trained) -> Self:
        """The network of a checkpoint with its mean image, in evaluation mode."""
        network = copy.deepcopy(trained.network).cpu().to(memory_format=torch.contiguous_format)
        made = cls(**settings(trained), network=network)
        edge = (trained.image_size - made.crop_size) // 2
        inside = slice(edge, edge + made.crop_size)
        made.mean.copy_(trained.views.mean[inside, inside].permute(2, 0, 1))
        return made.eval()

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.network(enlarged(image - self.mean, self.input_size))
        return logits

    def preprocess(self, photograph: Image.Image) -> Tensor:
        """A photograph of any size → (3, crop, crop), RGB 0–255: shorter side, centre (§3)."""
        stored = shorter_side_and_centre(photograph, self.image_size)
        edge = (self.image_size - self.crop_size) // 2
        crop = stored[edge : edge + self.crop_size, edge : edge + self.crop_size]
        return torch.from_numpy(np.array(crop)).permute(2, 0, 1).float()


def settings(trained: Trained) -> dict[str, Any]:
    """The arguments of the :class:`Classifier` of a checkpoint: plain values."""
    model = {key: value for key, value in trained.config["model"].items() if key != "num_classes"}
    return {
        "model": model,
        "classes": list(trained.classes),
        "words": None if trained.words is None else list(trained.words),
        "image_size": trained.image_size,
        "crop_size": trained.views.crop_size,
        "input_size": trained.views.input_size,
    }
