"""The network is a torch module like any other: what torch does with modules, it does with this."""

import copy
import io
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from alexnet_repro import AlexNet
from alexnet_repro.network.cifar import Cifar13Net, Cifar18Net
from alexnet_repro.network.layers import MaxPool, ResponseNorm

STD = dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"), 0.1)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "AlexNet": lambda: AlexNet(5, width=0.1, dropout=0.0, weight_std=STD),
    "2012 program": lambda: AlexNet(
        5,
        width=0.1,
        dropout=0.0,
        weight_std=STD,
        norm_before_relu_in_conv1=True,
        within_map_norm_in_conv2=True,
    ),
    "Cifar18Net": lambda: Cifar18Net(5, response_norm={}, weight_std=STD),
    "Cifar13Net": lambda: Cifar13Net(5, response_norm={}, within_map_norm={}, weight_std=STD),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """A narrow network in double precision, so that no rounding decides which maximum is taken."""
    torch.manual_seed(0)
    return NETWORKS[request.param]().double().eval()


@pytest.fixture
def images(network: nn.Module) -> Tensor:
    random = torch.Generator().manual_seed(1)
    size = network.input_size
    return torch.randn(3, 3, size, size, dtype=torch.float64, generator=random)


@pytest.fixture
def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network(images)


def loss(network: nn.Module, parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
    return functional.cross_entropy(functional_call(network, parameters, (image,)), label)


def parameters_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in network.named_parameters()}


# torch.func and derivatives


def test_gradients_of_every_image_at_once_are_those_of_a_loop(
    network: nn.Module, images: Tensor
) -> None:
    label = torch.tensor([0, 3, 4])

    def of_one(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return loss(network, parameters, image, label)

    found = vmap(grad(of_one), in_dims=(None, 0, 0))(parameters_of(network), images, label)
    for i in range(len(images)):
        network.zero_grad()
        loss(network, dict(network.named_parameters()), images[i], label[i]).backward()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(found[name][i], parameter.grad)


def test_jvp_is_the_difference_along_a_direction(network: nn.Module, images: Tensor) -> None:
    parameters = parameters_of(network)
    direction = {name: 0.01 * torch.randn_like(p) for name, p in parameters.items()}

    def at(step: float) -> Tensor:
        moved = {name: p + step * direction[name] for name, p in parameters.items()}
        return functional_call(network, moved, (images,))

    def logits(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(network, parameters, (images,))

    _, found = jvp(logits, (parameters,), (direction,))
    expected = (at(1e-6) - at(-1e-6)) / 2e-6
    assert (found - expected).norm() < 1e-6 * expected.norm()


def test_a_gradient_can_be_differentiated(network: nn.Module, images: Tensor) -> None:
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(network(images).square().sum(), images, create_graph=True)
    gradient.square().sum().backward()  # as a gradient penalty does
    first = next(network.parameters())
    assert first.grad is not None
    assert first.grad.isfinite().all()
    assert first.grad.any()


@pytest.mark.parametrize(
    "layer",
    [ResponseNorm(n=3, alpha=0.3, columns=2), ResponseNorm(n=4, beta=0.6, alpha=0.3)],
    ids=["odd", "even"],
)
def test_response_norm_has_all_derivatives(layer: nn.Module) -> None:
    random = torch.Generator().manual_seed(2)
    a = torch.randn(2, 6, 2, 2, dtype=torch.float64, generator=random).requires_grad_()
    assert torch.autograd.gradcheck(layer, (a,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(layer, (a,))


def test_pooling_has_all_derivatives() -> None:
    x = torch.randperm(2 * 2 * 7 * 7).reshape(2, 2, 7, 7).double().requires_grad_()
    assert torch.autograd.gradcheck(MaxPool(3, 2), (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(MaxPool(3, 2), (x,))


@pytest.mark.parametrize("layer", [ResponseNorm(alpha=0.3), MaxPool(3, 2)], ids=["norm", "pool"])
def test_many_gradients_go_back_at_once(layer: nn.Module) -> None:
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    directions = torch.randn(3, *y.shape, dtype=torch.float64)
    (found,) = vmap(lambda v: torch.autograd.grad(y, x, v, retain_graph=True))(directions)
    for i, direction in enumerate(directions):
        (expected,) = torch.autograd.grad(y, x, direction, retain_graph=True)
        torch.testing.assert_close(found[i], expected)


def test_the_way_back_of_a_norm_is_that_of_its_formula() -> None:
    # The one by hand, which ordinary training takes, and the one that torch derives.
    a = torch.randn(2, 8, 3, 3, dtype=torch.float64, requires_grad=True)
    norm = ResponseNorm(alpha=0.3, columns=2)
    norm(a).sin().sum().backward()
    torch.testing.assert_close(grad(lambda a: norm(a).sin().sum())(a.detach()), a.grad)


def test_activations_can_be_computed_anew(network: nn.Module, images: Tensor) -> None:
    gradients = []
    for output in (network(images), checkpoint(network, images, use_reentrant=False)):
        network.zero_grad()
        output.square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert all(map(torch.equal, *gradients))


# What records or copies it


def test_forward_on_the_meta_device_gives_the_shape(network: nn.Module, images: Tensor) -> None:
    assert network.to("meta")(images.to("meta")).shape == (3, 5)


def test_made_on_the_meta_device_it_is_filled_by_its_state(
    network: nn.Module, images: Tensor, logits: Tensor
) -> None:
    filled = copy.deepcopy(network).to("meta").to_empty(device="cpu")
    filled.load_state_dict(network.state_dict())
    assert torch.equal(filled(images), logits)


def test_symbolic_trace_gives_the_same(network: nn.Module, images: Tensor, logits: Tensor) -> None:
    traced = torch.fx.symbolic_trace(network)
    assert torch.equal(traced(images), logits)
    assert torch.equal(pickle.loads(pickle.dumps(traced))(images), logits)


def test_torchvision_extracts_features_by_the_names_of_the_layers(
    network: nn.Module, images: Tensor, logits: Tensor
) -> None:
    extraction = pytest.importorskip("torchvision.models.feature_extraction")
    names = [name for name, _ in network.named_children()]
    features = extraction.create_feature_extractor(network, return_nodes=names)(images)
    assert list(features) == names
    assert torch.equal(features[names[-1]], logits)
    x = images
    for name, layer in network.named_children():
        x = layer(x)
        # Of what a ReLU overwrites in place there is no copy.
        assert features[name].shape == x.shape


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_jit_trace_passes_its_own_check(network: nn.Module, images: Tensor, logits: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(network, images)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    torch.testing.assert_close(torch.jit.load(file)(images[:2]), logits[:2])


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_tensorboard_draws_its_graph(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(tmp_path) as writer:
        writer.add_graph(network, images)
    (events,) = tmp_path.iterdir()
    assert b"conv1_norm" in events.read_bytes()


def test_torch_export_takes_any_number_of_images(
    network: nn.Module, images: Tensor, logits: Tensor
) -> None:
    batch = {0: torch.export.Dim("batch")}
    exported = torch.export.export(network, (images,), dynamic_shapes=[batch]).module()
    for count in (1, 3):
        torch.testing.assert_close(exported(images[:count]), logits[:count])


@pytest.mark.long
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="needs a C++ compiler"
)
def test_torch_compile_makes_one_graph_of_it() -> None:
    torch.manual_seed(0)
    network = NETWORKS["AlexNet"]().double()
    images = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    gradients = []
    for forward in (network, torch.compile(network, fullgraph=True)):
        network.zero_grad()
        forward(images).square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_computes_the_same(
    network: nn.Module, images: Tensor, logits: Tensor, copied: Callable[[nn.Module], nn.Module]
) -> None:
    assert torch.equal(copied(network)(images), logits)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_computes_in_16_bit(
    network: nn.Module, images: Tensor, logits: Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    found = network.to(dtype)(images.to(dtype))
    assert found.dtype == dtype
    assert (found.double() - logits).norm() < tolerance * logits.norm()


# What it reads


def test_a_single_image_needs_no_batch(network: nn.Module, images: Tensor, logits: Tensor) -> None:
    alone = network(images[0])
    assert alone.shape == (5,)
    torch.testing.assert_close(alone.detach(), logits[0])
    with torch.no_grad():  # in 32 bit too, where other code runs for a batch
        torch.testing.assert_close(
            network.float()(images[0].float()).double(), logits[0], rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("sides", [(64, 64), (223, 223), (224, 227), (256, 256)])
def test_images_of_another_size_are_refused(sides: tuple[int, int]) -> None:
    message = (
        rf"images of {sides[0]}×{sides[1]} pixels: the network reads 224×224 \(§4.5\), or 227×227"
    )
    for shape in ((1, 3, *sides), (3, *sides)):
        with pytest.raises(ValueError, match=message):
            AlexNet(5, width=0.1)(torch.zeros(shape))
