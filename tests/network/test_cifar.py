"""The networks for CIFAR-10, layer by layer, against the program's formulas."""

from math import ceil

import pytest
import torch
from torch.nn import functional

from alexnet_repro import Cifar13Net, Cifar18Net
from alexnet_repro.network.cifar import LocallyConnected
from alexnet_repro.network.structure import layers


def pooled(side: int) -> int:
    """Outputs = 1 + ceil((in − size) / stride), 3×3 with stride 2."""
    return 1 + ceil((side - 3) / 2)


def test_a_locally_connected_layer_has_kernels_of_its_own_at_every_position() -> None:
    torch.manual_seed(0)
    layer = LocallyConnected(maps=4, kernels=5, size=3, side=6).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    images = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    maps = layer(images)
    padded = functional.pad(images, (1, 1, 1, 1))
    for position in range(36):
        row, column = divmod(position, 6)
        kernels = layer.weight[position].T.reshape(5, 4, 3, 3)
        window = padded[:, :, row : row + 3, column : column + 3]
        expected = functional.conv2d(window, kernels, layer.bias[position, 0])
        torch.testing.assert_close(maps[:, :, row, column], expected[:, :, 0, 0])


def test_a_locally_connected_layer_with_equal_kernels_is_a_convolution() -> None:
    torch.manual_seed(0)
    layer = LocallyConnected(maps=3, kernels=2, size=3, side=5).double()
    kernels = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        layer.weight.copy_(kernels.flatten(1).T.expand(25, 27, 2))
    images = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    expected = functional.conv2d(images, kernels, padding=1)
    torch.testing.assert_close(layer(images), expected)
    # Each position's gradient is its part of what the convolution sums over all positions.
    layer(images).square().sum().backward()
    expected.square().sum().backward()
    assert layer.weight.grad is not None
    assert kernels.grad is not None
    torch.testing.assert_close(layer.weight.grad.sum(0), kernels.grad.flatten(1).T)


def test_the_18_percent_network_has_three_convolutions_and_fc10() -> None:
    side = pooled(pooled(pooled(32)))
    assert side == 4
    weights = 32 * 3 * 25 + 32 * 32 * 25 + 64 * 32 * 25 + 10 * 64 * side**2
    network = Cifar18Net(within_map_norm={"size": 3, "scale": 5e-5, "beta": 0.75})
    assert sum(p.numel() for p in network.parameters()) == weights + 32 + 32 + 64 + 10
    assert [layer.name for layer in layers(network)] == ["conv1", "conv2", "conv3", "fc10"]
    assert list(dict(network.named_children())) == [
        *("conv1", "conv1_pool", "conv1_relu", "conv1_within_map_norm"),
        *("conv2", "conv2_relu", "conv2_pool", "conv2_within_map_norm"),
        *("conv3", "conv3_relu", "conv3_pool"),
        *("flatten", "fc10"),
    ]


def test_the_13_percent_network_has_four_hidden_layers_two_of_them_local() -> None:
    side = pooled(pooled(24))
    assert side == 6
    kernels = 64 * 3 * 25, 64 * 64 * 25, side**2 * 32 * 64 * 9, side**2 * 32 * 32 * 9
    biases = 64 + 64 + 2 * side**2 * 32 + 10
    network = Cifar13Net(input_size=24)
    described = layers(network)
    assert [layer.name for layer in described] == ["conv1", "conv2", "local3", "local4", "fc10"]
    assert sum(p.numel() for p in network.parameters()) == (
        sum(kernels) + 10 * 32 * side**2 + biases
    )
    assert described[2].multiply_adds == side**2 * 32 * 64 * 9


@pytest.mark.parametrize("network", [Cifar18Net, Cifar13Net])
def test_norms_follow_the_pooled_layers_one_and_two(network: type[Cifar18Net]) -> None:
    normed = network(response_norm={"n": 5, "k": 2.0, "alpha": 1e-4, "beta": 0.75})
    names = [name for name, _ in normed.named_children() if name.endswith("norm")]
    assert names == ["conv1_norm", "conv2_norm"]
    assert not [name for name, _ in network().named_children() if name.endswith("norm")]


@pytest.mark.parametrize("network", [Cifar18Net, Cifar13Net])
def test_weights_start_as_told_and_biases_at_zero(network: type[Cifar18Net]) -> None:
    torch.manual_seed(0)
    drawn = network(weight_std={"conv1": 1e-4, "conv2": 0.02})
    for name, parameter in drawn.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
            continue
        layer = name.removesuffix(".weight")
        expected = {"conv1": 1e-4, "conv2": 0.02}.get(layer, 0.01)
        assert parameter.std().item() == pytest.approx(expected, rel=0.1)


def test_tanh_replaces_every_relu() -> None:
    relu, tanh = Cifar18Net(), Cifar18Net(activation="tanh")
    of = {type(m).__name__ for m in tanh} - {type(m).__name__ for m in relu}
    assert of == {"Tanh"}
    assert not any(isinstance(m, torch.nn.ReLU) for m in tanh)
