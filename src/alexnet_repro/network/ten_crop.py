"""The average over ten crops (§5.1), with the layer shared that the ten have in common.

The crops of a 256×256 image begin 0, 16 or 32 pixels from its edges. Windows of conv1 begin every 4
pixels, those of its pooling every 2 windows: so a crop's layer 1 is a part of the layer 1 of the
whole image, reflected for five of the ten. Only windows that run past a crop's right and bottom
edges, where the crop reads zeros and the whole image has pixels, are a crop's own.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from alexnet_repro.data.augment import Augmentation
from alexnet_repro.network.alexnet import AlexNet, PadTo

STEP = 8
"""Pixels between the windows of pooling in layer 1: of conv1 (4) times those of the pooling (2)."""


def crop_logits(
    network: nn.Module, views: Augmentation, images: Tensor, crops: Literal["centre", "ten"]
) -> Iterator[Tensor]:
    """The logits (B, classes) of each of ``views.test_views(images, crops)``.

    Where ten crops share layer 1, they do. The arithmetic is the same, so that logits differ in the
    rounding of their last bits only.

    Args:
        images: as stored (B, size, size, 3), uint8.
    """
    places = views.test_places(images.shape[1], crops)
    whole = views.centred(images) if crops == "ten" else None
    if (
        whole is None
        or not isinstance(network, AlexNet)
        or any(top % STEP or left % STEP for top, left, _ in places)
    ):
        yield from map(network, views.test_views(images, crops))
        return
    pad, first, rest = _divided(network)
    seen = {reflect: whole.flip(3) if reflect else whole for reflect in (False, True)}
    shared = {reflect: first(image) for reflect, image in seen.items()}
    for top, left, reflect in places:
        if reflect:
            left = images.shape[1] - views.crop_size - left
        crop = seen[reflect][:, :, top : top + views.crop_size, left : left + views.crop_size]
        yield rest(_layer_1(pad, first, shared[reflect], crop, top // STEP, left // STEP))


def _divided(network: AlexNet) -> tuple[PadTo, nn.Sequential, nn.Sequential]:
    """The padding, layer 1 up to its pooling and what may follow there, and the rest."""
    names = [name for name, _ in network.named_children()]
    end = next(i for i, name in enumerate(names) if name.startswith(("conv2", "conv3")))
    pad, first, rest = network[0], network[1:end], network[end:]
    assert isinstance(pad, PadTo)
    assert isinstance(first, nn.Sequential)
    assert isinstance(rest, nn.Sequential)
    return pad, first, rest


def _layer_1(
    pad: PadTo, first: nn.Sequential, shared: Tensor, crop: Tensor, row: int, column: int
) -> Tensor:
    """Layer 1 of a crop: what it shares with the whole image, and its last row and column."""
    size = crop.shape[2]
    outputs, own = _pooled(first, pad.size), _pooled(first, size)
    inside = shared[:, :, row : row + own, column : column + own]
    if own == outputs:
        return inside
    right = first(_padded(crop[:, :, :, STEP * own :], pad.size, pad.size - STEP * own))
    bottom = first(_padded(crop[:, :, STEP * own :], pad.size - STEP * own, pad.size))
    return torch.cat([torch.cat([inside, right[:, :, :own]], dim=3), bottom], dim=2)


def _padded(images: Tensor, height: int, width: int) -> Tensor:
    """Zeros at the right and at the bottom, up to so many pixels."""
    return nn.functional.pad(images, (0, width - images.shape[3], 0, height - images.shape[2]))


def _pooled(first: nn.Sequential, size: int) -> int:
    """How many outputs a side layer 1 has of ``size`` pixels a side, without any padding."""
    (pool,) = (module for module in first if isinstance(module, nn.MaxPool2d))
    windows = (size - 11) // 4 + 1
    assert isinstance(pool.kernel_size, int)
    return (windows - pool.kernel_size) // 2 + 1
