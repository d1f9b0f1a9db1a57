"""The summary counts what Fig. 2 and §4.5 count."""

import contextlib
import io

import pytest

from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.network.structure import Layer, layers, print_summary

# name: kernels, maps that each reads, kernel side, output side, what it reads
PAPER = {
    "conv1": (96, 3, 11, 55, "image"),
    "conv2": (256, 48, 5, 27, "own column"),
    "conv3": (384, 256, 3, 13, "both columns"),
    "conv4": (384, 192, 3, 13, "own column"),
    "conv5": (256, 192, 3, 13, "own column"),
    "fc6": (4096, 256 * 6 * 6, 1, 1, "both columns"),
    "fc7": (4096, 4096, 1, 1, "both columns"),
    "fc8": (1000, 4096, 1, 1, "both columns"),
}


@pytest.fixture(scope="module")
def rows(paper_network: AlexNet) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers(paper_network)}


def test_rows_are_the_layers_with_parameters_in_order(rows: dict[str, Layer]) -> None:
    assert list(rows) == list(PAPER)


@pytest.mark.parametrize("name", PAPER)
def test_a_row_is_that_of_the_paper(rows: dict[str, Layer], name: str) -> None:
    kernels, inputs, side, output, reads = PAPER[name]
    row = rows[name]
    assert row.kernel[:2] == (kernels, inputs)
    assert row.parameters == kernels * inputs * side**2 + kernels
    assert row.neurons == kernels * output**2
    assert row.multiply_adds == kernels * output**2 * inputs * side**2
    assert row.reads == reads


def test_multiply_adds_are_724406816_in_total(rows: dict[str, Layer]) -> None:
    by_hand = sum(k * o**2 * i * s**2 for k, i, s, o, _ in PAPER.values())
    assert by_hand == 724_406_816
    assert sum(row.multiply_adds for row in rows.values()) == by_hand


@pytest.fixture(scope="module")
def printed() -> list[list[str]]:
    """The printed table, its lines split into words."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_summary({"_target_": "alexnet_repro.AlexNet"})
    return [line.split() for line in out.getvalue().splitlines()]


def test_printed_totals_are_those_of_the_paper(printed: list[list[str]]) -> None:
    (total,) = (line for line in printed if line and line[0] == "total")
    assert "60,965,224" in total
    assert "659,272" in total
    assert any(word.startswith("724") for word in total)  # 724.4 million multiply-adds


def test_printed_columns_hold_half_of_every_layer(printed: list[list[str]]) -> None:
    halves = {line[0]: line for line in printed if line and line[0] in PAPER}
    assert list(halves) == list(PAPER)
    for name, (kernels, inputs, side, _, _) in PAPER.items():
        assert f"{kernels // 2 * (inputs * side**2 + 1):,}" in halves[name], name
    (total,) = (line for line in printed if line and line[0] == "total")
    assert "30,482,612" in total


def test_printed_kernels_are_written_as_in_the_paper(printed: list[list[str]]) -> None:
    kernels = [line[1] for line in printed if line and line[0] in PAPER]
    assert kernels[:5] == ["96×11×11×3", "256×5×5×48", "384×3×3×256", "384×3×3×192", "256×3×3×192"]


def test_printed_shares_are_percent_of_all_parameters(printed: list[list[str]]) -> None:
    # "No more than 1% of the parameters" in a convolution (§7) does not hold for conv3 and conv4.
    shares = {"conv1": "0.06", "conv2": "0.50", "conv3": "1.45", "conv4": "1.09", "conv5": "0.73"}
    shares |= {"fc6": "61.93", "fc7": "27.53", "fc8": "6.72"}
    rows = {line[0]: line for line in printed if line and line[0] in PAPER}
    for name, (kernels, inputs, side, _, _) in PAPER.items():
        by_hand = 100 * kernels * (inputs * side**2 + 1) / 60_965_224
        assert f"{by_hand:.2f}" == shares[name]
        assert shares[name] in rows[name], name


def test_the_one_gpu_net_has_no_columns(capsys: pytest.CaptureFixture[str]) -> None:
    model = {"_target_": "alexnet_repro.AlexNet", "num_classes": 10, "columns": 1, "width": 0.1}
    print_summary(model)
    described = layers(AlexNet(num_classes=10, columns=1, width=0.1))
    assert {layer.reads for layer in described} == {"image", "all maps"}
    printed = capsys.readouterr().out
    total = sum(layer.parameters for layer in described)
    assert f"{total:,}" in printed
    assert f"{total // 2:,}" not in printed
