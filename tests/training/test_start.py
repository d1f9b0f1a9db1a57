"""Training starts from the weights of a checkpoint where layers fit, and says where they do not."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_repro import AlexNet
from alexnet_repro.base.errors import UsageError
from alexnet_repro.training.checkpoint import start_from
from alexnet_repro.training.run import stand_in
from tests.recorded import configuration

FRUIT = ("apple", "banana", "cherry")
CONVOLUTIONS = ["conv1", "conv2", "conv3", "conv4", "conv5"]


@pytest.fixture
def last(tiny_run: Path) -> Path:
    return tiny_run / "checkpoints" / "last.ckpt"


@pytest.fixture
def copied(last: Path) -> Callable[[AlexNet, AlexNet], set[str]]:
    """The layers of a network that are those of the checkpoint; all others must be as drawn."""
    saved = torch.load(last, weights_only=True)["state_dict"]

    def compare(network: AlexNet, drawn: AlexNet) -> set[str]:
        layers = set()
        before = dict(drawn.named_parameters())
        for name, parameter in network.named_parameters():
            if torch.equal(parameter, saved.get(f"network.{name}", torch.empty(0))):
                layers.add(name.partition(".")[0])
            else:
                assert torch.equal(parameter, before[name]), name
        return layers

    return compare


def networks(**options: Any) -> tuple[AlexNet, AlexNet]:
    """The same network twice."""
    made = []
    for _ in range(2):
        torch.manual_seed(1)
        made.append(AlexNet(**({"num_classes": 3, "width": 0.1} | options)))
    return made[0], made[1]


@pytest.mark.parametrize(
    ("classes", "options", "layers", "drawn"),
    [
        (FRUIT, {}, None, "none"),
        (("date", "elder", "fig"), {}, None, "fc8"),
        (("apple", "cherry", "banana"), {}, None, "fc8"),
        (("date", "elder"), {"num_classes": 2}, None, "fc8"),
        (FRUIT, {"sixth_conv": True}, None, "conv6"),
        (FRUIT, {"sixth_conv": True}, CONVOLUTIONS, "conv6, fc6, fc7, fc8"),
        (FRUIT, {"removed_conv": 4}, None, "none"),
    ],
)
def test_layers_that_fit_are_taken_and_the_rest_stays_as_drawn(
    last: Path,
    copied: Callable[[AlexNet, AlexNet], set[str]],
    caplog: pytest.LogCaptureFixture,
    classes: tuple[str, ...],
    options: dict[str, Any],
    layers: list[str] | None,
    drawn: str,
) -> None:
    network, before = networks(**options)
    with caplog.at_level(logging.INFO):
        start_from(last, network, classes, layers)
    expected = {name.partition(".")[0] for name, _ in network.named_parameters()}
    expected -= set(drawn.split(", "))
    # The first biases of a layer can be equal by chance, its weights cannot.
    assert copied(network, before) >= expected
    (line,) = caplog.messages
    assert line.startswith(f"from {last}: conv1, conv2")
    assert line.endswith(f"newly initialized: {drawn}")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width": 0.2}, r"conv1\.weight is 10×3×11×11, that of this network 20×3×11×11"),
        ({"columns": 1}, r"conv1\.weight is 10×3×11×11, that of this network 4×3×11×11"),
        ({"removed_conv": 2}, r"conv3\.weight is 38×26×3×3, that of this network 38×10×3×3"),
    ],
)
def test_layers_of_another_shape_are_told_in_one_line(
    last: Path, options: dict[str, Any], told: str
) -> None:
    network, _ = networks(**options)
    with pytest.raises(UsageError, match=told) as error:
        start_from(last, network, FRUIT, None)
    assert "\n" not in str(error.value)


def test_a_layer_that_is_not_there_is_named(last: Path) -> None:
    with pytest.raises(UsageError, match="init_layers: the network has no layer conv6"):
        start_from(last, networks()[0], FRUIT, ["conv1", "conv6"])


def test_nothing_in_common_is_refused(last: Path) -> None:
    with pytest.raises(UsageError, match="none of its layers is one of this network"):
        start_from(last, networks(sixth_conv=True)[0], FRUIT, ["conv6"])


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["experiment=ablation_no_lrn"], "experiment=[small,ablation_no_lrn] minutes"),
        (
            ["experiment=alexnet"],
            "photographs use data=imagenette or data=folder source=IMAGES",
        ),
        (["experiment=demo"], None),
        (["experiment=[small,ablation_tanh]"], None),
        (["schedule.epochs=1"], None),
    ],
)
def test_a_long_run_on_the_rendered_images_is_told_what_they_are(
    overrides: list[str], told: str | None
) -> None:
    trained = configuration(*overrides, "run_name=ablation_no_lrn")
    said = stand_in(trained, "miniature")
    assert (said is None) == (told is None)
    assert told is None or told in str(said)
    assert stand_in(trained, "imagenette") is None
