"""A network comes back from its checkpoint as it was trained, and nothing in the file is run."""

import json
import sys
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.preprocess import shorter_side_and_centre
from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.training.checkpoint import FORMAT, load_trained, start_from

HERE = Path(__file__).parent


def nested(depth: int) -> list[Any]:
    """A list that is small in a file and long in print."""
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner] * 8
    return inner


LOGITS_OF_FORMAT_1 = torch.tensor([[0.0093132, -0.0228068, 0.0893678]]).expand(2, 3)


@pytest.fixture
def last(tiny_run: Path) -> Path:
    return tiny_run / "checkpoints" / "last.ckpt"


@pytest.fixture
def changed(last: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """A copy of the checkpoint with a change."""

    def make(change: Callable[[dict[str, Any]], None]) -> Path:
        checkpoint = torch.load(last, weights_only=True)
        change(checkpoint)
        path = tmp_path / "changed.ckpt"
        torch.save(checkpoint, path)
        return path

    return make


def test_errors_of_a_loaded_network_are_those_of_the_run(
    last: Path, tiny_run: Path, tiny_images: Path
) -> None:
    trained = load_trained(last)
    assert trained.classes == ("apple", "banana", "cherry")
    assert trained.epoch == 1
    wrong, images = {"centre": 0, "ten": 0}, sorted((tiny_images / "test").glob("*/*.png"))
    for path in images:
        with Image.open(path) as image:
            pixels = torch.from_numpy(
                np.array(shorter_side_and_centre(image, trained.image_size))[None]
            )
        with torch.no_grad():
            probabilities = torch.stack(
                [
                    trained.network(view).softmax(1)
                    for view in trained.views.test_views(pixels, "ten")
                ]
            )
        for crops, probability in (("centre", probabilities[0]), ("ten", probabilities.mean(0))):
            wrong[crops] += trained.classes[int(probability.argmax())] != path.parent.name
    record = json.loads((tiny_run / "result.json").read_text())
    for crops, count in wrong.items():
        error = record["errors"][crops]["top1"]
        assert 100 * count / len(images) == pytest.approx(error, abs=1e-3)


def test_a_pickle_that_runs_code_is_not_run(tmp_path: Path) -> None:
    class Planted:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "run",)

    torch.save({"state_dict": Planted()}, tmp_path / "planted.ckpt")
    with pytest.raises(UsageError, match=r"planted\.ckpt: not a checkpoint"):
        load_trained(tmp_path / "planted.ckpt")
    assert not (tmp_path / "run").exists()


def test_a_target_in_the_configuration_is_not_called(changed: Any) -> None:
    def point_elsewhere(checkpoint: dict[str, Any]) -> None:
        checkpoint["config"]["model"]["_target_"] = "os.system"

    with pytest.raises(UsageError, match=r"is os\.system, which is not of this package"):
        load_trained(changed(point_elsewhere))


def test_a_target_among_the_arguments_of_another_is_not_called(changed: Any) -> None:
    def plant(checkpoint: dict[str, Any]) -> None:
        checkpoint["config"]["augment"]["_target_"] = "antigravity.geohash"

    with pytest.raises(UsageError, match=r"augment\._target_: there is no such key"):
        load_trained(changed(plant))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(format=3), "a checkpoint of format 3; this version reads up to 2"),
        (lambda c: c["state_dict"].update({"network.fc9.bias": torch.ones(1)}), r"Unexpected.*fc9"),
        (lambda c: c.pop("config"), "it has no config"),
        (lambda c: c["config"]["model"].update(width=-1.0), r"width=-1\.0: .* greater than 0"),
        (lambda c: c["config"]["model"].update(width=0.2), "its weights are not those of its"),
        (lambda c: c["state_dict"].pop("network.fc8.bias"), r"Missing key.*fc8\.bias"),
        (lambda c: c["ImageDataModule"].pop("mean_image"), "its mean_image cannot be right"),
        (lambda c: c["ImageDataModule"]["classes"].append("date"), "are not of [0-9]+ classes"),
        # What its sender may have written there.
        (lambda c: c.update(config=None), "config: input should be a valid dictionary"),
        (lambda c: c["config"].update(data=None), r"config\.data: input should be"),
        (lambda c: c["config"].pop("model"), r"config\.model: field required"),
        (lambda c: c.update(ImageDataModule=[]), "ImageDataModule: input should be"),
        (lambda c: c.update(optimizer_states=[5]), r"optimizer_states\.0: input should be"),
        (lambda c: c.update(optimizer_states=[]), "optimizer_states: list should have at least"),
        (lambda c: c.update({"pytorch-lightning_version": "x"}), "version: string should match"),
        (
            lambda c: c["config"]["model"].update(width=nested(8)),
            r"width=\[\[.*: input should be",
        ),
        (lambda c: c["state_dict"]["network.conv1.bias"].fill_(nan), "training diverged"),
        (lambda c: c.update(callbacks=5), "callbacks: input should be"),
        (lambda c: c.update(loops={"fit_loop": {}}), "its loops do not say how far"),
        (lambda c: c["config"]["model"].update(bias={"conv1": 10**30}), "int too big"),
        (
            lambda c: c["state_dict"].update({7: c["state_dict"].pop("network.fc8.bias")}),
            r"state_dict\.7.*: input should be a valid string",
        ),
        (lambda c: c["config"]["model"].update(width=16.0), r"size mismatch for conv1\.weight"),
        (lambda c: c["ImageDataModule"].update(crop_size=-5), "its crop_size cannot be right"),
        (lambda c: c["ImageDataModule"].update(image_size=10**9), "its image_size cannot be right"),
        (lambda c: c["ImageDataModule"].update(input_size=True), "its input_size cannot be right"),
        (lambda c: c["ImageDataModule"].update(input_size=8), "the network reads 224×224 pixels"),
        (
            lambda c: c["ImageDataModule"].update(classes=[1, 2, 3]),
            r"its classes\.0 cannot be right",
        ),
        (lambda c: c["ImageDataModule"].update(classes=["a"] * 10**6), "not of 1000000 classes"),
        (
            lambda c: c["ImageDataModule"].update(mean_image=torch.zeros(1, 1, 3)),
            r"mean_image is \(1, 1, 3\)",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_together_is_told_in_one_line(
    changed: Any, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    with pytest.raises(UsageError, match=told) as error:
        load_trained(changed(change))
    assert "\n" not in str(error.value)


def test_millions_of_names_are_told_without_being_read(changed: Any) -> None:
    path = changed(lambda c: c["ImageDataModule"].update(classes=list(map(str, range(2 * 10**6)))))
    with pytest.raises(UsageError, match="it holds more than 16 MiB besides tensors"):
        load_trained(path)


def test_what_is_no_weight_is_not_started_from(changed: Any) -> None:
    path = changed(lambda c: c["state_dict"].update({"network.conv1.weight": 3}))
    with pytest.raises(UsageError, match=r"conv1\.weight is no tensor"):
        start_from(path, AlexNet(3, width=0.1), ("a", "b", "c"), None)


def test_of_a_checkpoint_without_classes_all_but_the_last_layer_is_taken(changed: Any) -> None:
    path, network = (
        changed(lambda c: c.pop("ImageDataModule")),
        AlexNet(3, width=0.1),
    )
    drawn = network.fc8.weight.clone()
    start_from(path, network, ("a", "b", "c"), None)
    taken = torch.load(path, weights_only=True)["state_dict"]
    assert torch.equal(network.fc7.weight, taken["network.fc7.weight"])
    assert torch.equal(network.fc8.weight, drawn)


def logits_of(path: Path) -> torch.Tensor:
    with torch.no_grad():
        return load_trained(path).network(torch.linspace(-100, 100, 301_056).view(2, 3, 224, 224))


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_every_format_version_still_loads(number: int) -> None:
    """``checkpoints/`` holds one of each: a run of one epoch on three classes, width 0.02."""
    trained = load_trained(HERE / "checkpoints" / f"format{number}.ckpt")
    assert trained.classes == ("apple", "banana", "cherry")
    assert trained.epoch == 1
    # What the version that wrote format 1 computed with it.
    torch.testing.assert_close(logits_of(trained.path), LOGITS_OF_FORMAT_1, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kept", [0, 100, 20_000])
def test_a_file_that_breaks_off_is_told(last: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "torn.ckpt"
    path.write_bytes(last.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"torn\.ckpt: not a checkpoint, or a damaged one"):
        load_trained(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.ckpt: there is no such checkpoint"):
        load_trained(tmp_path / "none.ckpt")
