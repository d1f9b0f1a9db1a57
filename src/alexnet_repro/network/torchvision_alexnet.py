"""torchvision's ``alexnet``, to compare with: one column, other widths, no normalization."""

from typing import Literal

import torch
from torch import Tensor
from torchvision.models import AlexNet

from alexnet_repro.base.build import Classes, Fraction, checks_arguments

STANDARD_DEVIATION = 255 * torch.tensor([0.229, 0.224, 0.225])
"""Of R, G and B of pixels 0–255, as torchvision's weights expect them to be divided by."""


class TorchvisionAlexNet(AlexNet):  # type: ignore[misc]
    """``torchvision.models.alexnet`` behind this package's preprocessing.

    It has 64-192-384-256-256 kernels in one column, pads images by 2 pixels, has neither response
    normalization nor the paper's start (it is that of Krizhevsky's later "one weird trick" paper).

    Args:
        num_classes: outputs of the last layer.
        columns: 1: it has no second one.
        dropout: probability with which an input of the first two fully connected layers is dropped.

    Shape: images (batch, 3, 224, 224), RGB 0–255 minus the training mean → logits
    (batch, num_classes).
    """

    scale: Tensor

    @checks_arguments
    def __init__(
        self, num_classes: Classes = 1000, columns: Literal[1] = 1, dropout: Fraction = 0.5
    ) -> None:
        super().__init__(num_classes=num_classes, dropout=dropout)
        self.columns = columns
        # Of three dimensions: with four it would be in channels-last format, in which DDP cannot
        # send a buffer that is the only one.
        scale = STANDARD_DEVIATION.reshape(3, 1, 1).clone()
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = super().forward(x / self.scale)
        return logits
