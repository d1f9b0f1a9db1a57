"""Pictures show what they are drawn from."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from alexnet_repro import AlexNet
from alexnet_repro.base.errors import UsageError
from alexnet_repro.cli import data_node
from alexnet_repro.figures.drawing import figure_4
from alexnet_repro.figures.fig1_relu_speed import (
    TrainingError,
    draw_training_error,
    ended_runs,
    ratio_text,
    read_training_error,
)
from alexnet_repro.figures.fig2_architecture import draw_architecture
from alexnet_repro.figures.fig3_kernels import COLUMN_GAP, GAP, kernel_tiles
from alexnet_repro.figures.fig4_examples import drawn_places
from alexnet_repro.figures.paper_style import paper_style, save
from alexnet_repro.network.structure import exchanges, layers
from alexnet_repro.training.checkpoint import load_trained


def texts(figure: object) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]  # type: ignore[attr-defined]


def test_the_architecture_names_every_layer_and_what_crosses() -> None:
    network = AlexNet(width=0.25)
    said = texts(draw_architecture(network))
    for layer in layers(network):
        assert layer.name in said
        assert said.count(f"{layer.output[0] // 2}") >= 2  # of each column
    for exchange in exchanges(network):
        shape = "×".join(map(str, exchange.shape))
        assert any(text.startswith(f"{shape}\nto ") for text in said)


@pytest.mark.parametrize(
    "options", [{"columns": 1}, {"removed_conv": 3}, {"sixth_conv": True}, {"num_classes": 11}]
)
def test_variants_are_drawn_too(options: dict[str, object]) -> None:
    network = AlexNet(**({"width": 0.1} | options))  # type: ignore[arg-type]
    said = texts(draw_architecture(network))
    assert {layer.name for layer in layers(network)} <= set(said)
    assert any("to the loss" in text for text in said) == (network.columns == 2)


def test_kernels_lie_48_above_48_on_one_scale() -> None:
    kernels = np.random.default_rng(0).uniform(-1, 1, (96, 3, 11, 11))
    kernels[17] *= 0.1  # a weak kernel looks weak
    tiles = kernel_tiles(kernels)
    half = 3 * (11 + GAP) - GAP
    assert tiles.shape == (2 * half + COLUMN_GAP, 16 * (11 + GAP) - GAP, 3)
    scale = np.quantile(np.abs(kernels), 0.999)
    for number in (0, 17, 47, 48, 95):
        column, place = divmod(number, 48)
        y = column * (half + COLUMN_GAP) + place // 16 * (11 + GAP)
        x = place % 16 * (11 + GAP)
        shown = tiles[y : y + 11, x : x + 11]
        expected = np.clip(0.5 + kernels[number].transpose(1, 2, 0) / (2 * scale), 0, 1)
        assert shown == pytest.approx(expected)
    assert (tiles[half : half + COLUMN_GAP] == 1).all()


def curve(activation: str, *errors: float) -> TrainingError:
    return TrainingError(Path(activation), activation, errors)


def test_epochs_to_a_threshold_lie_on_the_line_between_epochs() -> None:
    assert curve("relu", 80, 40, 20, 10).epochs_to(25) == pytest.approx(2.75)
    assert curve("relu", 20, 10).epochs_to(25) == 1
    assert curve("relu", 80, 60).epochs_to(25) == math.inf


def test_the_ratio_is_of_medians_and_says_when_there_is_none() -> None:
    relu = [curve("relu", 45, 25), curve("relu", 50, 30, 20), curve("relu", 80, 60, 40, 20)]
    tanh = curve("tanh", *range(90, 10, -5))
    assert "tanh 14.0: 5.6 times as many" in ratio_text([*relu, tanh], 25)
    assert "not within 2, more than 0.8 times" in ratio_text([*relu, curve("tanh", 90, 80)], 25)
    assert "ReLU did not reach" in ratio_text([curve("relu", 90), tanh], 25)


def test_figure_1_needs_both() -> None:
    with pytest.raises(UsageError, match=r"model\.activation=tanh"):
        draw_training_error([curve("relu", 50, 20)], 25)


def test_a_run_is_read_from_its_records(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in it has ended"):
        ended_runs(tmp_path)
    record = {"format": 1, "command": "", "date": "", "config": {"model": {"activation": "tanh"}}}
    rows = [{"epoch": 1, "train/top1_error": 80.5}, {"epoch": 2, "train/top1_error": 20}]
    (tmp_path / "result.json").write_text(json.dumps(record | {"curve": rows}))
    assert read_training_error(tmp_path).errors == (80.5, 20.0)
    assert ended_runs(tmp_path) == [tmp_path]
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    (tmp_path / "result.json").rename(tmp_path / "sweep" / "0" / "result.json")
    assert ended_runs(tmp_path) == [tmp_path / "sweep" / "0"]
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        read_training_error(tmp_path)


def test_shown_images_are_of_all_classes_in_turn() -> None:
    labels = np.repeat([0, 1, 2], [5, 1, 3])
    places = drawn_places(labels, 6, np.random.default_rng(0))
    assert sorted(labels[places[:3]]) == [0, 1, 2]
    assert sorted(labels[places[3:5]]) == [0, 2]
    assert len(set(places)) == 6


@pytest.mark.parametrize("file_format", ["png", "svg", "pdf"])
def test_the_same_figure_is_the_same_file(tmp_path: Path, file_format: str) -> None:
    files = []
    for number in (1, 2):
        with paper_style():
            figure = draw_training_error([curve("relu", 50, 20), curve("tanh", 90, 20)], 25)
            save(figure, tmp_path / str(number), "figure_1", [file_format], 60)
        (file,) = (tmp_path / str(number)).iterdir()
        files.append(file.read_bytes())
    assert files[0] == files[1]


def test_the_neighbours_are_titled_with_the_activations_that_the_network_has(
    tiny_run: Path, tiny_images: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_REPRO_CACHE", str(cache))
    trained = load_trained(tiny_run / "checkpoints" / "last.ckpt")
    node = data_node(["data=folder", f"data.source.root={tiny_images}", "data.batch_size=8"])
    drawn = figure_4(trained, node, None, shown=1, queries=1, neighbours=1, seed=0, batch_size=8)
    titles = [panel.get_suptitle() for panel in drawn["figure_4_right"].subfigs]
    wide = trained.network.fc7.out_features
    assert wide != 4096
    assert titles == [f"nearest by the {wide:,} activations of fc7", "nearest by pixels"]
