"""Ten crops that share layer 1 have the logits of ten crops that do not."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from alexnet_repro import AlexNet
from alexnet_repro.data.augment import Augmentation, AugmentOptions
from alexnet_repro.data.statistics import Statistics
from alexnet_repro.network.ten_crop import crop_logits

VARIANTS: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "nonoverlapping pooling": {"pool": "nonoverlapping"},
    "the 2012 program's": {"norm_before_relu_in_conv1": True, "within_map_norm_in_conv2": True},
    "CaffeNet's": {"norm_after_pool": True},
    "no norm": {"response_norm": None},
    "one column, tanh": {"columns": 1, "activation": "tanh"},
    "no conv2": {"removed_conv": 2},
}


def stored(size: int = 256) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(256, size=(2, size, size, 3), dtype=np.uint8)
    return torch.from_numpy(pixels)


def augmentation(size: int = 256, crop: int = 224, mean_crop: Any = "same_place") -> Augmentation:
    # Fractions that 32 bits hold exactly.
    mean = np.random.default_rng(1).integers(320, 640, size=(size, size, 3)) / 4
    statistics = Statistics(mean, np.ones(3), np.eye(3))
    return Augmentation(statistics, crop, crop, AugmentOptions(mean_crop=mean_crop))


def calls_of(network: nn.Module) -> list[torch.Size]:
    """The shapes of what conv1 reads from now on."""
    shapes: list[torch.Size] = []
    conv1 = network.get_submodule("conv1")
    conv1.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    return shapes


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_shared_crops_have_the_logits_of_separate_ones(variant: str) -> None:
    torch.manual_seed(0)
    # Biases of 1 would saturate tanh, and all views look alike.
    bias = dict.fromkeys(("conv2", "conv4", "conv5", "fc6", "fc7"), 0.0)
    start = {"weight_std": {f"conv{i}": 0.05 for i in range(1, 6)}, "bias": bias}
    network = AlexNet(num_classes=5, width=0.1, **(start | VARIANTS[variant])).double().eval()
    images, views = stored(), augmentation().double()
    expected = torch.stack([network(view.double()) for view in views.test_views(images, "ten")])
    assert expected.std(dim=0).min() > 1e-6, "the ten views are told apart"
    read = calls_of(network)
    found = torch.stack(list(crop_logits(network, views, images, "ten")))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    # Both whole images, and of every crop at most its edges.
    assert [shape[2:] for shape in read[:2]] == [(256, 256)] * 2
    windows = sum((h - 7) // 4 * ((w - 7) // 4) for _, _, h, w in read)
    assert windows < 0.4 * 10 * 55 * 55


@pytest.mark.parametrize(
    ("size", "crop", "mean_crop"), [(256, 224, "centre"), (250, 224, "same_place")]
)
@torch.no_grad()
def test_crops_that_share_nothing_are_computed_each(size: int, crop: int, mean_crop: str) -> None:
    torch.manual_seed(0)
    network = AlexNet(num_classes=3, width=0.05).eval()
    images, views = stored(size), augmentation(size, crop, mean_crop)
    read = calls_of(network)
    found = list(crop_logits(network, views, images, "ten"))
    assert len(read) == 10
    for one, view in zip(found, views.test_views(images, "ten"), strict=True):
        torch.testing.assert_close(one, network(view))


@torch.no_grad()
def test_one_crop_is_one_crop() -> None:
    network = AlexNet(num_classes=3, width=0.05).eval()
    read = calls_of(network)
    (logits,) = crop_logits(network, augmentation(), stored(), "centre")
    assert logits.shape == (2, 3)
    assert [shape[2:] for shape in read] == [(227, 227)]
