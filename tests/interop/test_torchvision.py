"""Only torchvision's alexnet is taken for it."""

from pathlib import Path

import pytest
import torch
import torchvision

from alexnet_repro.base.errors import UsageError
from alexnet_repro.interop.torchvision_weights import imagenet_words, read_torchvision


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classifier.6.bias": None}, "has no classifier.6.bias"),
        ({"features.0.weight": torch.zeros(96, 3, 11, 11)}, "features.0.weight is not that of"),
    ],
)
def test_other_weights_are_refused(
    change: dict[str, torch.Tensor | None], told: str, tmp_path: Path
) -> None:
    with torch.device("meta"):
        shapes = torchvision.models.alexnet(num_classes=2).state_dict()
    weights = {name: torch.zeros(()).expand(meta.shape) for name, meta in shapes.items()}
    torch.save(weights | change, tmp_path / "alexnet.pth")
    with pytest.raises(UsageError, match=told):
        read_torchvision(tmp_path / "alexnet.pth", {})


def test_words_of_imagenet_are_in_the_order_of_wordnet_ids() -> None:
    # n01440764 and n15075141, the first and the last.
    words = imagenet_words()
    assert (len(words), words[0], words[-1]) == (1000, "tench", "toilet tissue")
