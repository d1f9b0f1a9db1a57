"""The network is that of §3–4 and Fig. 2, and each option changes what its name says."""

import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_repro.network.alexnet import BIASES, AlexNet, Dropout
from alexnet_repro.network.structure import Layer, layers

NAMES = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
SEES_OWN_COLUMN = ["conv2", "conv4", "conv5"]
SEES_BOTH_COLUMNS = ["conv3", "fc6", "fc7", "fc8"]

FullSize = Callable[..., list[Layer]]


@pytest.fixture
def full_size() -> FullSize:
    """The layers of the full-size network with the given options, without its memory.

    Also without its norms, which have no parameters and change no shape.
    """

    def described(**options: Any) -> list[Layer]:
        with torch.device("meta"):
            return layers(AlexNet(response_norm=None, **options))

    return described


@pytest.fixture
def until() -> Callable[[AlexNet, str, Tensor], Tensor]:
    """What goes into a layer of the network."""

    def run(network: AlexNet, name: str, x: Tensor) -> Tensor:
        for child, module in network.named_children():
            if child == name:
                return x
            x = module(x)
        raise KeyError(name)

    return run


# Fig. 2


def test_has_60965224_parameters(paper_network: AlexNet) -> None:
    assert sum(p.numel() for p in paper_network.parameters()) == 60_965_224


def test_neurons_of_each_layer_are_those_of_the_paper(paper_network: AlexNet) -> None:
    neurons = {layer.name: layer.neurons for layer in layers(paper_network)}
    assert neurons == {
        "conv1": 290_400,
        "conv2": 186_624,
        "conv3": 64_896,
        "conv4": 64_896,
        "conv5": 43_264,
        "fc6": 4096,
        "fc7": 4096,
        "fc8": 1000,
    }
    assert sum(neurons.values()) == 659_272


def test_kernels_of_each_layer_are_those_of_the_paper(paper_network: AlexNet) -> None:
    shapes = {name: tuple(getattr(paper_network, name).weight.shape) for name in NAMES}
    assert shapes == {
        "conv1": (96, 3, 11, 11),
        "conv2": (256, 48, 5, 5),
        "conv3": (384, 256, 3, 3),
        "conv4": (384, 192, 3, 3),
        "conv5": (256, 192, 3, 3),
        "fc6": (4096, 9216),
        "fc7": (4096, 4096),
        "fc8": (1000, 4096),
    }


def test_order_of_activations_norms_and_pools_is_that_of_the_paper(paper_network: AlexNet) -> None:
    assert [name for name, _ in paper_network.named_children()] == [
        *("conv1_pad", "conv1", "conv1_relu", "conv1_norm", "conv1_pool"),
        *("conv2", "conv2_relu", "conv2_norm", "conv2_pool"),
        *("conv3", "conv3_relu", "conv4", "conv4_relu", "conv5", "conv5_relu", "conv5_pool"),
        *("flatten", "fc6", "fc6_relu", "fc6_dropout", "fc7", "fc7_relu", "fc7_dropout", "fc8"),
    ]


def test_state_dict_holds_weights_and_biases_under_plain_names(paper_network: AlexNet) -> None:
    expected = [f"{name}.{kind}" for name in NAMES for kind in ("weight", "bias")]
    assert list(paper_network.state_dict()) == expected


# conv1's padding


def test_conv1_makes_55x55_maps(narrow: AlexNet, images: Tensor) -> None:
    assert narrow.conv1(narrow.conv1_pad(images)).shape == (2, 10, 55, 55)


@pytest.mark.parametrize("row", [0, 1, 53, 54])
@pytest.mark.parametrize("column", [0, 1, 53, 54])
def test_conv1_reads_zeros_past_the_right_and_bottom_edge_only(
    narrow: AlexNet, images: Tensor, row: int, column: int
) -> None:
    narrow, image = narrow.double(), images[0].double()
    out = narrow.conv1(narrow.conv1_pad(image[None]))[0]
    # A window starts at every fourth pixel, at 0; slices end at the image's own edge.
    pixels = image[:, 4 * row : 4 * row + 11, 4 * column : 4 * column + 11]
    _, height, width = pixels.shape
    assert (height, width) == (8 if row == 54 else 11, 8 if column == 54 else 11)
    weights = narrow.conv1.weight[:, :, :height, :width]
    by_hand = (weights * pixels).sum(dim=(1, 2, 3)) + narrow.conv1.bias
    torch.testing.assert_close(out[:, row, column], by_hand)


def test_images_of_227_pixels_have_no_zeros_at_their_edges(narrow: AlexNet) -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(1, 3, 227, 227, generator=generator)
    by_hand = functional.conv2d(images, narrow.conv1.weight, narrow.conv1.bias, stride=4)
    torch.testing.assert_close(narrow.conv1(narrow.conv1_pad(images)), by_hand)
    assert by_hand.shape[2:] == (55, 55)


# The columns


def test_every_parameter_splits_into_two_halves_of_kernels(paper_network: AlexNet) -> None:
    for name, parameter in paper_network.named_parameters():
        assert parameter.shape[0] % 2 == 0, name


def _column_gradients(network: AlexNet, layer: str, x: Tensor) -> tuple[float, float]:
    """How much column 0's output of a layer depends on the maps of either column."""
    x = x.detach().requires_grad_()
    output = getattr(network, layer)(x)
    output[:, : output.shape[1] // 2].square().sum().backward()
    assert x.grad is not None
    own, other = x.grad.abs().chunk(2, dim=1)
    return float(own.sum()), float(other.sum())


@pytest.mark.parametrize("layer", SEES_OWN_COLUMN)
def test_conv2_conv4_and_conv5_see_their_own_column(
    narrow: AlexNet, images: Tensor, until: Callable[..., Tensor], layer: str
) -> None:
    own, other = _column_gradients(narrow, layer, until(narrow, layer, images))
    assert own > 0
    assert other == 0


@pytest.mark.parametrize("layer", SEES_BOTH_COLUMNS)
def test_conv3_and_fully_connected_layers_see_both_columns(
    narrow: AlexNet, images: Tensor, until: Callable[..., Tensor], layer: str
) -> None:
    own, other = _column_gradients(narrow, layer, until(narrow, layer, images))
    assert own > 0
    assert other > 0


@pytest.mark.parametrize(("layer", "crosses"), [("conv2", False), ("conv3", True)])
def test_nothing_crosses_between_columns_before_conv3(
    narrow: AlexNet, images: Tensor, until: Callable[..., Tensor], layer: str, crosses: bool
) -> None:
    # From column 0's outputs back to conv1's kernels: norms and pools lie on the way.
    output = getattr(narrow, layer)(until(narrow, layer, images))
    output[:, : output.shape[1] // 2].square().sum().backward()
    own, other = narrow.conv1.weight.grad.abs().sum(dim=(1, 2, 3)).chunk(2)
    assert (own > 0).any()
    assert bool((other > 0).any()) == crosses


def test_changing_one_column_of_conv1_changes_the_other_from_conv3_on(
    narrow: AlexNet, images: Tensor
) -> None:
    narrow.eval()
    outputs: list[dict[str, Tensor]] = []
    for _ in range(2):
        seen: dict[str, Tensor] = {}
        with torch.no_grad():
            x = images
            for name, module in narrow.named_children():
                x = module(x)
                seen[name] = x.clone()
            narrow.conv1.weight[:5] += 0.01
        outputs.append(seen)
    before, after = outputs
    same_in_column_1 = {
        name: torch.equal(*(maps[name].chunk(2, dim=1)[1] for maps in (before, after)))
        for name in ("conv2", "conv3", "conv4", "conv5", "fc6")
    }
    assert same_in_column_1 == {
        "conv2": True,
        "conv3": False,
        "conv4": False,
        "conv5": False,
        "fc6": False,
    }


def _two_explicit_columns(
    images: Tensor, parameters: Mapping[str, Tensor], norm: nn.Module, fc_factor: float
) -> Tensor:
    """The paper's network as two columns, each with half of every parameter, by torch alone."""

    def half(name: str, column: int) -> tuple[Tensor, Tensor]:
        weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        return weight.chunk(2)[column], bias.chunk(2)[column]

    outputs = []
    padded = functional.pad(images, (0, 3, 0, 3))
    for c in (0, 1):
        maps = functional.conv2d(padded, *half("conv1", c), stride=4).relu()
        maps = functional.max_pool2d(norm(maps), 3, 2)
        maps = functional.conv2d(maps, *half("conv2", c), padding=2).relu()
        outputs.append(functional.max_pool2d(norm(maps), 3, 2))
    both = torch.cat(outputs, dim=1)
    outputs = []
    for c in (0, 1):
        maps = functional.conv2d(both, *half("conv3", c), padding=1).relu()
        maps = functional.conv2d(maps, *half("conv4", c), padding=1).relu()
        maps = functional.conv2d(maps, *half("conv5", c), padding=1).relu()
        outputs.append(functional.max_pool2d(maps, 3, 2).flatten(1))
    both = torch.cat(outputs, dim=1)
    for name in ("fc6", "fc7"):
        halves = [functional.linear(both, *half(name, c)).relu() * fc_factor for c in (0, 1)]
        both = torch.cat(halves, dim=1)
    return torch.cat([functional.linear(both, *half("fc8", c)) for c in (0, 1)], dim=1)


@pytest.mark.parametrize("divide_alpha_by_n", [False, True])
def test_equals_two_explicit_columns(images: Tensor, divide_alpha_by_n: bool) -> None:
    torch.manual_seed(3)
    alpha = 5 * 2**-8
    constants: dict[str, Any] = {"alpha": alpha, "divide_alpha_by_n": divide_alpha_by_n}
    network = AlexNet(num_classes=10, width=0.1, response_norm=constants).double().eval()
    network.reset_parameters(dict.fromkeys(NAMES, 0.03))
    torchs_alpha = alpha if divide_alpha_by_n else 5 * alpha
    norm = nn.LocalResponseNorm(5, alpha=torchs_alpha, beta=0.75, k=2.0)
    parameters = dict(network.named_parameters())
    expected = _two_explicit_columns(images.double(), parameters, norm, fc_factor=0.5)
    torch.testing.assert_close(network(images.double()), expected, rtol=1e-11, atol=1e-11)


def test_gradients_equal_those_of_two_explicit_columns(images: Tensor) -> None:
    torch.manual_seed(4)
    network = AlexNet(num_classes=10, width=0.1, dropout=0.0, response_norm={"alpha": 2**-6})
    network.double()
    norm = nn.LocalResponseNorm(5, alpha=5 * 2**-6, beta=0.75, k=2.0)
    parameters = dict(network.named_parameters())
    labels = torch.tensor([3, 7])
    ours = functional.cross_entropy(network(images.double()), labels)
    theirs = functional.cross_entropy(
        _two_explicit_columns(images.double(), parameters, norm, fc_factor=1.0), labels
    )
    of_ours = torch.autograd.grad(ours, list(parameters.values()))
    of_theirs = torch.autograd.grad(theirs, list(parameters.values()))
    for name, mine, other in zip(parameters, of_ours, of_theirs, strict=True):
        error = (mine - other).norm() / other.norm()
        assert error < 1e-10, name


# Options: the ablations of §4.1–4.5, §5.2 and §7


def _sizes(described: list[Layer]) -> list[tuple[int, ...]]:
    return [layer.output[1:] for layer in described if layer.name.startswith("conv")]


def test_tanh_replaces_every_relu() -> None:
    kinds = [type(m) for m in AlexNet(width=0.1, activation="tanh")]
    assert kinds.count(nn.Tanh) == 7
    assert nn.ReLU not in kinds


def test_tanh_changes_the_function_to_tanh(images: Tensor, until: Callable[..., Tensor]) -> None:
    network = AlexNet(width=0.1, activation="tanh")
    before = until(network, "conv1_tanh", images)
    torch.testing.assert_close(until(network, "conv1_norm", images), torch.tanh(before))


@pytest.mark.parametrize(("pool", "window"), [("overlapping", 3), ("nonoverlapping", 2)])
def test_both_kinds_of_pooling_give_27_13_and_6(
    pool: Any, window: int, images: Tensor, until: Callable[..., Tensor]
) -> None:
    network = AlexNet(num_classes=10, width=0.1, pool=pool)
    after = {"conv1_pool": "conv2", "conv2_pool": "conv3", "conv5_pool": "flatten"}
    pooled = {name: until(network, following, images) for name, following in after.items()}
    assert [x.shape[-1] for x in pooled.values()] == [27, 13, 6]
    # The last window of the first pool, by hand.
    maps = until(network, "conv1_pool", images)
    last = maps[:, :, 52 : 52 + window, 52 : 52 + window].amax(dim=(2, 3))
    torch.testing.assert_close(pooled["conv1_pool"][:, :, 26, 26], last)


def test_without_response_norm_no_norm_is_left() -> None:
    network = AlexNet(width=0.1, response_norm=None)
    assert not [name for name, _ in network.named_modules() if "norm" in name]


def test_constants_of_response_norm_reach_both_norms() -> None:
    network = AlexNet(width=0.1, response_norm={"n": 3, "k": 1.5, "alpha": 0.01, "beta": 0.5})
    for norm in (network.conv1_norm, network.conv2_norm):
        assert (norm.n, norm.k, norm.alpha, norm.beta, norm.columns) == (3, 1.5, 0.01, 0.5, 2)


def test_one_gpu_net_halves_conv1_to_conv4_only(full_size: FullSize) -> None:
    kernels = {layer.name: layer.kernel for layer in full_size(columns=1)}
    assert kernels == {
        "conv1": (48, 3, 11, 11),
        "conv2": (128, 48, 5, 5),
        "conv3": (192, 128, 3, 3),
        "conv4": (192, 192, 3, 3),
        "conv5": (256, 192, 3, 3),
        "fc6": (4096, 9216),
        "fc7": (4096, 4096),
        "fc8": (1000, 4096),
    }


def test_one_gpu_net_has_about_as_many_parameters(full_size: FullSize) -> None:
    # Which is why conv5 and the fully connected layers are not halved (footnote of §4.2).
    one_gpu = sum(layer.parameters for layer in full_size(columns=1))
    assert abs(one_gpu / 60_965_224 - 1) < 0.02


def test_in_the_one_gpu_net_every_map_reaches_every_kernel(images: Tensor) -> None:
    network = AlexNet(num_classes=10, width=0.1, columns=1)
    assert all(m.groups == 1 for m in network if isinstance(m, nn.Conv2d))
    assert network(images).shape == (2, 10)


@pytest.mark.parametrize(
    ("removed", "reads_both", "changed_layer", "changed_kernel"),
    [
        (2, ["conv3"], "conv3", (384, 96, 3, 3)),
        (3, ["conv4"], "conv4", (384, 256, 3, 3)),
        (4, ["conv3"], "conv5", (256, 192, 3, 3)),
        (5, ["conv3"], "fc6", (4096, 384 * 36)),
    ],
)
def test_a_removed_convolution_leaves_sizes_and_one_exchange(
    full_size: FullSize,
    removed: int,
    reads_both: list[str],
    changed_layer: str,
    changed_kernel: tuple[int, ...],
) -> None:
    described = {layer.name: layer for layer in full_size(removed_conv=removed)}
    assert list(described) == [name for name in NAMES if name != f"conv{removed}"]
    both = [name for name, layer in described.items() if layer.reads == "both columns"]
    assert both == [*reads_both, "fc6", "fc7", "fc8"]
    sizes = {"conv1": 55, "conv2": 27, "conv3": 13, "conv4": 13, "conv5": 13}
    for name, layer in described.items():
        if name in sizes:
            assert layer.output[1:] == (sizes[name], sizes[name])
    assert described[changed_layer].kernel == changed_kernel


@pytest.mark.parametrize(
    ("removed", "difference"),
    [
        # conv2's kernels and biases go, conv3 reads 96 maps instead of 256.
        (2, -(256 * 48 * 25 + 256) - 384 * (256 - 96) * 9),
        # conv3's go, conv4 reads 256 maps of both columns instead of 192 of its own.
        (3, -(384 * 256 * 9 + 384) + 384 * (256 - 192) * 9),
        # conv4's go, conv5 reads as many maps as before.
        (4, -(384 * 192 * 9 + 384)),
        # conv5's go, fc6 reads 384 maps of 6×6 instead of 256.
        (5, -(256 * 192 * 9 + 256) + 4096 * (384 - 256) * 36),
    ],
)
def test_a_removed_convolution_takes_its_parameters_along(
    full_size: FullSize, removed: int, difference: int
) -> None:
    counted = sum(layer.parameters for layer in full_size(removed_conv=removed))
    assert counted == 60_965_224 + difference


@pytest.mark.parametrize("removed", [2, 3, 4, 5])
def test_a_network_without_a_convolution_trains(images: Tensor, removed: int) -> None:
    network = AlexNet(num_classes=10, width=0.1, removed_conv=removed)
    functional.cross_entropy(network(images), torch.tensor([0, 1])).backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("sixth_conv", [False, True])
def test_without_conv3_and_conv4_read_columns_as_described(
    images: Tensor, until: Callable[..., Tensor], sixth_conv: bool
) -> None:
    network = AlexNet(num_classes=10, width=0.1, removed_conv=3, sixth_conv=sixth_conv)
    assert _column_gradients(network, "conv4", until(network, "conv4", images))[1] > 0
    assert _column_gradients(network, "conv5", until(network, "conv5", images))[1] == 0


def test_sixth_convolution_reads_both_columns_at_6x6(full_size: FullSize) -> None:
    described = {layer.name: layer for layer in full_size(sixth_conv=True)}
    assert list(described) == [*NAMES[:5], "conv6", *NAMES[5:]]
    conv6 = described["conv6"]
    assert conv6.kernel == (256, 256, 3, 3)
    assert conv6.output == (256, 6, 6)
    assert conv6.reads == "both columns"
    total = sum(layer.parameters for layer in described.values())
    assert total == 60_965_224 + 256 * 256 * 9 + 256


def test_sixth_convolution_lies_between_the_last_pool_and_fc6() -> None:
    names = [name for name, _ in AlexNet(width=0.1, sixth_conv=True).named_children()]
    start = names.index("conv5_pool")
    assert names[start : start + 5] == ["conv5_pool", "conv6", "conv6_relu", "flatten", "fc6"]


@pytest.mark.parametrize(
    ("width", "kernels"),
    [
        (0.25, [24, 64, 96, 96, 64, 1024, 1024, 1000]),
        (0.5, [48, 128, 192, 192, 128, 2048, 2048, 1000]),
        (2.0, [192, 512, 768, 768, 512, 8192, 8192, 1000]),
    ],
)
def test_width_scales_every_layer_but_fc8(
    full_size: FullSize, width: float, kernels: list[int]
) -> None:
    assert [layer.kernel[0] for layer in full_size(width=width)] == kernels


@pytest.mark.parametrize("width", [0.001, 0.03, 0.1, 0.37])
def test_width_leaves_equal_columns(full_size: FullSize, width: float) -> None:
    counts = [layer.kernel[0] for layer in full_size(width=width)]
    assert all(count >= 2 and count % 2 == 0 for count in counts)


@pytest.mark.parametrize("classes", [10, 10_184])
def test_num_classes_is_the_size_of_fc8(full_size: FullSize, classes: int) -> None:
    *rest, fc8 = full_size(num_classes=classes)
    assert fc8.kernel == (classes, 4096)
    assert sum(layer.parameters for layer in rest) == 60_965_224 - 4_097_000


def test_2012_layer_1_normalizes_pools_and_then_rectifies() -> None:
    network = AlexNet(width=0.1, norm_before_relu_in_conv1=True)
    names = [name for name, _ in network.named_children()]
    assert names[1:6] == ["conv1", "conv1_norm", "conv1_pool", "conv1_relu", "conv2"]
    assert names[5:9] == ["conv2", "conv2_relu", "conv2_norm", "conv2_pool"]


def test_caffenet_pools_before_it_normalizes() -> None:
    names = [name for name, _ in AlexNet(width=0.1, norm_after_pool=True).named_children()]
    assert names[2:5] == ["conv1_relu", "conv1_pool", "conv1_norm"]
    assert names[6:9] == ["conv2_relu", "conv2_pool", "conv2_norm"]
    with pytest.raises(ValueError, match="exclude each other"):
        AlexNet(width=0.1, norm_after_pool=True, norm_before_relu_in_conv1=True)


def test_windows_of_the_norm_can_cross_from_one_column_to_the_other() -> None:
    within, across = (
        AlexNet(width=0.1, response_norm=norm).conv2_norm for norm in ({}, {"columns": 1})
    )
    maps = torch.randn(1, 26, 3, 3, generator=torch.Generator().manual_seed(0)) * 100
    reference = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)
    torch.testing.assert_close(across(maps), reference(maps))
    torch.testing.assert_close(within(maps)[:, :13], reference(maps[:, :13]))
    assert not torch.allclose(within(maps), across(maps))


def test_2012_layer_2_normalizes_a_second_time_within_maps() -> None:
    network = AlexNet(width=0.1, within_map_norm_in_conv2=True)
    names = [name for name, _ in network.named_children()]
    start = names.index("conv2_norm")
    assert names[start : start + 3] == ["conv2_norm", "conv2_within_map_norm", "conv2_pool"]
    norm = network.conv2_within_map_norm
    assert (norm.size, norm.scale, norm.beta) == (5, 0.001, 0.75)


def test_2012_layers_train(images: Tensor) -> None:
    network = AlexNet(
        num_classes=10,
        width=0.1,
        norm_before_relu_in_conv1=True,
        within_map_norm_in_conv2=True,
    )
    functional.cross_entropy(network(images), torch.tensor([0, 1])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


# Dropout (§5.2)


def test_in_training_half_of_the_neurons_are_zero_and_the_rest_unscaled() -> None:
    torch.manual_seed(5)
    x = torch.rand(20, 4096) + 1
    dropped = Dropout(0.5).train()(x)
    kept = dropped != 0
    assert abs(kept.float().mean() - 0.5) < 0.01
    torch.testing.assert_close(dropped[kept], x[kept])


def test_in_training_dropped_neurons_differ_between_images_and_uses() -> None:
    dropout, x = Dropout(0.5).train(), torch.ones(2, 4096)
    first, second = dropout(x), dropout(x)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.5, 0.2, 0.0])
def test_at_test_outputs_are_multiplied_by_the_probability_of_staying(p: float) -> None:
    x = torch.rand(20, 100)
    torch.testing.assert_close(Dropout(p).eval()(x), (1 - p) * x)


def test_without_dropout_training_changes_nothing() -> None:
    x = torch.rand(20, 100)
    assert torch.equal(Dropout(0.0).train()(x), x)


def test_dropout_follows_fc6_and_fc7_of_the_network(
    narrow: AlexNet, images: Tensor, until: Callable[..., Tensor]
) -> None:
    torch.manual_seed(6)
    for layer, following in (("fc6", "fc7"), ("fc7", "fc8")):
        narrow.train()
        share = (until(narrow, following, images) == 0).float().mean()
        # Rectified neurons have biases of 1 and tiny weights: none is zero without dropout.
        assert abs(share - 0.5) < 0.1, layer
        narrow.eval()
        rectified = until(narrow, f"{layer}_dropout", images)
        torch.testing.assert_close(until(narrow, following, images), rectified / 2)


def test_dropout_option_reaches_both_layers() -> None:
    network = AlexNet(width=0.1, dropout=0.3)
    assert (network.fc6_dropout.p, network.fc7_dropout.p) == (0.3, 0.3)


# Initialization (§6)


@pytest.mark.parametrize("name", NAMES)
def test_weights_start_from_a_gaussian_of_standard_deviation_001(
    paper_network: AlexNet, name: str
) -> None:
    weight = getattr(paper_network, name).weight
    n = weight.numel()
    assert abs(weight.mean()) < 5 * 0.01 / n**0.5
    assert abs(weight.std() / 0.01 - 1) < 5 / (2 * n) ** 0.5 + 1e-4
    # Of a Gaussian 4.55% lie beyond two standard deviations.
    beyond = (weight.abs() > 0.02).float().mean()
    assert abs(beyond - 0.0455) < 5 * (0.0455 / n) ** 0.5


def test_biases_start_at_one_in_conv2_conv4_conv5_and_the_hidden_layers(
    paper_network: AlexNet,
) -> None:
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    for name in NAMES:
        expected = torch.full_like(getattr(paper_network, name).bias, float(name in ones))
        assert torch.equal(getattr(paper_network, name).bias, expected), name


def test_bias_of_conv6_starts_at_one() -> None:
    assert torch.all(AlexNet(width=0.1, sixth_conv=True).conv6.bias == 1)


def test_given_standard_deviations_and_biases_replace_those_of_their_layers() -> None:
    torch.manual_seed(7)
    network = AlexNet(
        width=0.25, weight_std={"conv3": 0.03, "fc8": 0.5}, bias={"conv1": 0.5, "conv4": -1.0}
    )
    for name in NAMES:
        layer = getattr(network, name)
        expected = {"conv3": 0.03, "fc8": 0.5}.get(name, 0.01)
        assert abs(layer.weight.std() / expected - 1) < 5 / (2 * layer.weight.numel()) ** 0.5, name
        bias = {"conv1": 0.5, "conv4": -1.0}.get(name, BIASES[name])
        assert torch.all(layer.bias == bias), name


def test_the_same_random_state_gives_the_same_weights() -> None:
    networks = []
    for seed in (8, 8, 9):
        torch.manual_seed(seed)
        networks.append(AlexNet(width=0.1))
    same, again, other = (network.fc6.weight for network in networks)
    assert torch.equal(same, again)
    assert not torch.equal(same, other)


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": 3}, "columns=3: input should be 1 or 2"),
        ({"activation": "gelu"}, "activation=gelu: input should be 'relu' or 'tanh'"),
        ({"pool": "average"}, "pool=average: input should be 'overlapping' or 'nonoverlapping'"),
        ({"removed_conv": 1}, "removed_conv=1: conv1 cannot be removed, since its stride of 4"),
        ({"removed_conv": 6}, "removed_conv=6: input should be 2, 3, 4 or 5"),
        ({"width": 0}, "width=0: input should be greater than 0"),
        ({"width": -1.0}, "width=-1.0: input should be greater than 0"),
        ({"width": float("nan")}, "width=nan: input should be a finite number"),
    ],
)
def test_a_meaningless_argument_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlexNet(**options)


# Ways to run it


@pytest.fixture
def gradients() -> Callable[[AlexNet, Tensor], dict[str, Tensor]]:
    def of(network: AlexNet, images: Tensor) -> dict[str, Tensor]:
        network.zero_grad()
        functional.cross_entropy(network(images), torch.tensor([3, 7])).backward()
        return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}

    return of


def test_channels_last_gives_the_same_gradients(
    images: Tensor, gradients: Callable[[AlexNet, Tensor], dict[str, Tensor]]
) -> None:
    # In float64, since in float32 a rounding decides which of two pixels a pool takes.
    torch.manual_seed(10)
    network, images = AlexNet(num_classes=10, width=0.1, dropout=0.0).double(), images.double()
    expected = gradients(network, images)
    found = gradients(
        network.to(memory_format=torch.channels_last),
        images.to(memory_format=torch.channels_last),
    )
    assert list(found) == [name for name, _ in network.named_parameters()]
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() < 1e-9 * gradient.norm(), name


def test_bfloat16_autocast_gives_gradients_within_its_rounding(
    images: Tensor, gradients: Callable[[AlexNet, Tensor], dict[str, Tensor]]
) -> None:
    torch.manual_seed(11)
    network = AlexNet(num_classes=10, width=0.1, dropout=0.0)
    # Weights that keep the size of the signal from layer to layer. With the paper's, the images
    # make a difference to the biases of 1 that is smaller than a rounding.
    fan_in = {name: getattr(network, name).weight[0].numel() for name in NAMES}
    network.reset_parameters({name: (2 / n) ** 0.5 for name, n in fan_in.items()}, bias={})
    images = images / 100
    expected = gradients(network, images)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(network, images)
    assert list(found) == [name for name, _ in network.named_parameters()]
    for name, gradient in expected.items():
        assert found[name].dtype == torch.float32
        # Not so close for convolutions, where a rounding decides which pixel a pool takes.
        tolerance = 0.05 if name.startswith("fc") else 0.4
        assert (found[name] - gradient).norm() < tolerance * gradient.norm(), name


def test_bfloat16_autocast_computes_in_bfloat16(narrow: AlexNet, images: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert narrow(images).dtype == torch.bfloat16


def test_a_pickled_network_computes_the_same(narrow: AlexNet, images: Tensor) -> None:
    copy = pickle.loads(pickle.dumps(narrow)).eval()
    assert torch.equal(copy(images), narrow.eval()(images))


def test_a_state_dict_carries_everything(narrow: AlexNet, images: Tensor) -> None:
    other = AlexNet(num_classes=10, width=0.1).eval()
    assert not torch.equal(other(images), narrow.eval()(images))
    other.load_state_dict(narrow.state_dict(), strict=True)
    assert torch.equal(other(images), narrow(images))


def test_a_slice_of_the_network_is_its_layers() -> None:
    network = AlexNet(num_classes=10, width=0.1).eval()
    images = torch.randn(1, 3, 224, 224)
    names = [name for name, _ in network.named_children()]
    upto, after = network[: names.index("conv3")], network[names.index("conv3") :]
    assert [name for name, _ in upto.named_children()] == names[: names.index("conv3")]
    with torch.no_grad():
        assert torch.equal(after(upto(images)), network(images))


# What came after 2012


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_hes_weights_keep_the_variance_of_the_signal_at_any_width(width: float) -> None:
    torch.manual_seed(0)
    network = AlexNet(10, width=width, weight_std="he")
    for name in NAMES[:-1]:
        weight = getattr(network, name).weight
        expected = (2 / weight[0].numel()) ** 0.5
        # Pixels are not of variance 1, as He et al. assume.
        expected /= 64 if name == "conv1" else 1
        assert float(weight.std()) == pytest.approx(expected, rel=0.02), name


def test_batch_normalization_stands_between_each_convolution_and_its_activation() -> None:
    network = AlexNet(10, width=0.05, response_norm=None, batch_norm=True)
    names = [name for name, _ in network.named_children()]
    for layer in NAMES[:5]:
        place = names.index(layer)
        assert names[place + 1 : place + 3] == [f"{layer}_batch_norm", f"{layer}_relu"]
    images = 60 * torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    normalized = network[:3](images).mean((0, 2, 3))
    torch.testing.assert_close(normalized, torch.zeros(len(normalized)), atol=1e-4, rtol=0)
