"""A checkpoint whose network is not of this package: built only where the user says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import resnet18

from alexnet_repro.base.errors import UsageError
from alexnet_repro.interop.classifier import Classifier
from alexnet_repro.training.checkpoint import load_trained
from alexnet_repro.training.networks import make_network

RESNET = {"_target_": "torchvision.models.resnet18", "weights": None, "num_classes": None}
Written = Callable[..., Path]


@pytest.fixture(scope="module")
def resnet() -> torch.nn.Module:
    torch.manual_seed(0)
    return resnet18(num_classes=3).eval()


@pytest.fixture
def written(tiny_run: Path, tmp_path: Path, resnet: torch.nn.Module) -> Written:
    """Writes a checkpoint of a ResNet-18, with what its configuration says of the network."""
    saved = torch.load(tiny_run / "checkpoints" / "last.ckpt", weights_only=True)
    saved["state_dict"] = {f"network.{name}": w for name, w in resnet.state_dict().items()}

    def write(**model: Any) -> Path:
        path = tmp_path / "a.ckpt"
        torch.save(saved | {"config": saved["config"] | {"model": RESNET | model}}, path)
        return path

    return write


def test_a_checkpoint_alone_does_not_choose_what_is_imported(written: Written) -> None:
    with pytest.raises(UsageError, match="add trust=torchvision, or name it again"):
        load_trained(written())


@pytest.mark.parametrize(
    "said",
    [
        {"trust": "torchvision"},
        {"trust": "torchvision.models"},
        {"model": {"_target_": "torchvision.models.resnet18"}},
    ],
)
def test_trusted_or_named_again_it_is_what_was_trained(
    said: dict[str, Any], written: Written, resnet: torch.nn.Module
) -> None:
    trained = load_trained(written(), **said)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(trained.network(images), resnet(images), atol=1e-5)
    assert Classifier.of(trained)(torch.zeros(1, 3, 224, 224)).shape == (1, 3)


@pytest.mark.parametrize("trust", ["torch", "torchvisio", "timm", ""])
def test_trust_is_of_the_whole_name_of_a_package(trust: str, written: Written) -> None:
    with pytest.raises(UsageError, match="not of this package"):
        load_trained(written(), trust=trust)


def test_what_a_trusted_package_has_imported_is_not_trusted(
    written: Written, tmp_path: Path
) -> None:
    place = tmp_path / "harm"
    path = written(_target_="torchvision.datasets.utils.os.mkdir", path=str(place))
    with pytest.raises(UsageError, match="not defined in torchvision"):
        load_trained(path, trust="torchvision")
    assert not place.exists()


@pytest.mark.parametrize("said", [{"trust": "torchvision"}, {"model": {"_target_": "a.b"}}])
def test_what_is_nested_in_a_checkpoint_is_never_built(
    said: dict[str, Any], written: Written, tmp_path: Path
) -> None:
    place = tmp_path / "harm"
    nested = {"_target_": "os.mkdir", "path": str(place)}
    for value in (nested, [nested], {"a": nested}):
        with pytest.raises(UsageError, match=r"its model\.norm_layer names something to be built"):
            load_trained(written(norm_layer=value), **said)
    assert not place.exists()


def test_a_network_of_this_package_is_not_to_be_named_again(tiny_run: Path) -> None:
    path = tiny_run / "checkpoints" / "last.ckpt"
    with pytest.raises(UsageError, match=r"model\.dropout: .* says itself what its network is"):
        load_trained(path, model={"dropout": 0.1})
    assert load_trained(path, trust="torchvision").epoch == 1


def test_a_checkpoint_without_our_data_says_what_it_lacks(written: Written) -> None:
    path = written()
    saved = torch.load(path, weights_only=True)
    del saved["ImageDataModule"]
    torch.save(saved, path)
    with pytest.raises(UsageError, match="neither classes nor mean image"):
        load_trained(path, trust="torchvision")


def test_a_network_that_makes_no_logits_of_an_image_is_told_before_it_trains() -> None:
    with pytest.raises(
        UsageError, match=r"it maps one image to \(1, 3, 8, 8\); expected logits \(1, 3\)"
    ):
        make_network({"_target_": "torch.nn.Identity", "_num_classes_": None}, 3, 8)
    linear = {"_target_": "torch.nn.Linear", "_num_classes_": "out_features", "in_features": 5}
    with pytest.raises(
        UsageError, match=r"Linear: it does not accept images of shape \(1, 3, 8, 8\)"
    ):
        make_network(linear, 3, 8)
