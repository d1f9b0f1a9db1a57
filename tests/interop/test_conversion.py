"""``alexnet convert``: its checkpoint is one as any other."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from typer.exceptions import TyperException

from alexnet_repro.analysis.kernels import specialization
from alexnet_repro.base.errors import UsageError
from alexnet_repro.training.checkpoint import load_trained
from tests.forks import Forks

from .caffe_writer import alexnet, binaryproto, caffemodel

Convert = Callable[..., None]


@pytest.fixture
def caffenet(tmp_path: Path) -> list[str]:
    """Arguments for a narrow CaffeNet of three classes."""
    layers = alexnet(np.random.default_rng(0), pool_first=True, width=0.125, classes=3)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(layers, v1=True, name="CaffeNet"))
    (tmp_path / "classes.txt").write_text("apple\ta fruit, round\nbanana\ncherry\ta stone fruit\n")
    return ["caffe", "net.caffemodel", "made/net.ckpt", "--classes=classes.txt"]


def test_what_is_typed_and_what_is_told(
    forks: Forks, caffenet: list[str], tmp_path: Path, tiny_images: Path
) -> None:
    def run(name: str, *arguments: str) -> str:
        done = forks.run("-m", f"alexnet_repro.{name}", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    lines = run("convert", *caffenet).splitlines()
    assert "CaffeNet, " in lines[0]
    assert "exact: the same logits for the same pixels" in lines
    assert any("layers 1 and 2: pools, then normalizes" in line for line in lines)
    assert lines[-1] == "written to made/net.ckpt"
    assert max(map(len, lines)) <= 100
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["net.ckpt"]
    data = ["data=folder", f"data.source.root={tiny_images}", "data.batch_size=8"]
    evaluated = run("evaluate", "checkpoint=made/net.ckpt", "output=record.json", *data)
    rows = [line.split()[:2] for line in evaluated.splitlines() if "CaffeNet" in line]
    assert rows == [["CaffeNet", "centre"], ["CaffeNet", "ten"]]
    assert json.loads((tmp_path / "record.json").read_text())["images"] == 9


def test_its_network_and_classes_are_those_of_the_file(
    convert: Convert, caffenet: list[str], tmp_path: Path
) -> None:
    convert(*caffenet)
    trained = load_trained(tmp_path / "made" / "net.ckpt")
    assert trained.classes == ("apple", "banana", "cherry")
    assert trained.words == ("a fruit", "banana", "a stone fruit")
    names = [name for name, _ in trained.network.named_children()]
    assert names.index("conv1_pool") < names.index("conv1_norm")
    assert specialization(trained, permutations=99, seed=0)["kernels"] == 12


def test_a_photograph_becomes_what_caffe_makes_of_it(
    convert: Convert, caffenet: list[str], tmp_path: Path
) -> None:
    mean = np.random.default_rng(1).uniform(90, 130, (3, 256, 256)).astype(np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(binaryproto(mean))
    convert(*caffenet, "--mean=mean.binaryproto")
    pixels = np.random.default_rng(2).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    views = load_trained(tmp_path / "made" / "net.ckpt").views
    (view,) = views.test_views(torch.from_numpy(pixels[None]), "centre")
    # Caffe: blue, green, red, minus the mean, the middle 227 of 256 pixels from the 14th on.
    bgr = pixels[..., ::-1].transpose(2, 0, 1) - mean
    np.testing.assert_array_equal(view[0].flip(0).numpy(), bgr[:, 14:241, 14:241])


def test_torchvision_is_for_comparison_only(
    convert: Convert, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    original = torchvision.models.alexnet().eval()
    torch.save(original.state_dict(), tmp_path / "alexnet.pth")
    caplog.set_level("INFO")
    convert("torchvision", "alexnet.pth", "net.ckpt")
    assert "61,100,840 parameters, 1000 classes" in caplog.text
    trained = load_trained(tmp_path / "net.ckpt")
    assert trained.words is not None
    assert trained.words[0] == "tench"
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (1, 256, 256, 3), generator=generator, dtype=torch.uint8)
    preprocess = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.transforms()
    with torch.no_grad():
        expected = original(preprocess(pixels.permute(0, 3, 1, 2)))
        found = trained.network(*trained.views.test_views(pixels, "centre"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        UsageError, match="TorchvisionAlexNet, which does not have the layers of the"
    ):
        specialization(trained, permutations=99, seed=0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["caffe"], "source"),
        (["caffe", "no.caffemodel", "o"], "path 'no.caffemodel' does not exist"),
        (["pytorch", "a", "o"], "No such command 'pytorch'"),
        (["torchvision", "a", "o", "--mean=m"], "No such option: --mean"),
    ],
)
def test_a_mistake_is_told(
    convert: Convert, arguments: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(TyperException, match=told):
        convert(*arguments)
    assert not list(tmp_path.iterdir())


def test_classes_must_be_as_many_as_the_network_has(
    convert: Convert, caffenet: list[str], tmp_path: Path
) -> None:
    (tmp_path / "classes.txt").write_text("apple\nbanana\n")
    with pytest.raises(
        UsageError, match=r"--classes classes.txt: names 2 classes, the network has"
    ):
        convert(*caffenet)
    assert not (tmp_path / "made").exists()
