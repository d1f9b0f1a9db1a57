"""The update rule is that of §6, with the learning rate inside the velocity."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard
from torch.profiler import ProfilerActivity, profile

from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.training.sgd import PaperSGD, paper_sgd

PAPER: dict[str, Any] = {
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "bias_lr": None,
    "bias_weight_decay": True,
}
SOURCE2012 = PAPER | {"bias_lr": 0.02, "bias_weight_decay": False}


@pytest.fixture
def weights() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5,), (2, 3, 2, 2)]
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in shapes
    ]


@pytest.fixture
def gradients() -> list[list[Tensor]]:
    """Ten steps' gradients for ``weights``."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(3, 4), (5,), (2, 3, 2, 2)]
    return [
        [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
        for _ in range(10)
    ]


def step(optimizer: torch.optim.Optimizer, weights: list[Tensor], grads: list[Tensor]) -> None:
    for w, grad in zip(weights, grads, strict=True):
        w.grad = grad.clone()
    optimizer.step()


@pytest.mark.parametrize("weight_decay", [0.0005, 0.3, 0.0])
@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_ten_steps_are_the_formula(
    weights: list[Tensor], gradients: list[list[Tensor]], weight_decay: float, momentum: float
) -> None:
    optimizer = PaperSGD(weights, lr=0.1, momentum=momentum, weight_decay=weight_decay)
    w = [x.detach().numpy().copy() for x in weights]
    v = [np.zeros_like(x) for x in w]
    for number, grads in enumerate(gradients):
        epsilon = 0.1 if number < 5 else 0.01
        optimizer.param_groups[0]["lr"] = epsilon
        step(optimizer, weights, grads)
        for i, grad in enumerate(grads):
            v[i] = momentum * v[i] - weight_decay * epsilon * w[i] - epsilon * grad.numpy()
            w[i] = w[i] + v[i]
            np.testing.assert_allclose(weights[i].detach().numpy(), w[i], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("dtype", "layouts", "passes"),
    [
        (torch.float32, (torch.channels_last,) * 3, 1),
        (torch.float32, (torch.channels_last, torch.contiguous_format, torch.channels_last), 4),
        (torch.float32, (torch.channels_last, torch.channels_last, torch.contiguous_format), 1),
        (torch.bfloat16, (torch.contiguous_format,) * 3, 4),
    ],
    ids=["alike", "gradient differs", "velocity differs", "16 bit"],
)
def test_weight_gradient_and_velocity_may_differ_in_layout(
    dtype: torch.dtype, layouts: tuple[torch.memory_format, ...], passes: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(7, 3, 5, 5, generator=generator).to(dtype) for _ in layouts]
    w, gradient, v = (x.to(memory_format=f) for x, f in zip(drawn, layouts, strict=True))
    velocity = 0.9 * v.double() - 0.01 * (0.0005 * w.double() + gradient.double())
    moved = w.double() + velocity
    w.grad = gradient
    optimizer = PaperSGD([w.requires_grad_()])
    saved = optimizer.state_dict() | {"state": {0: {"velocity": v}}}
    optimizer.load_state_dict(saved)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        optimizer.step()
    names = [event.name for event in seen.events()]
    assert sum("_foreach" in n or n == "aten::_fused_sgd_" for n in names) == passes
    exact = {"rtol": 1e-6, "atol": 1e-6} if dtype is torch.float32 else {"rtol": 0.02, "atol": 0.02}
    torch.testing.assert_close(optimizer.state[w]["velocity"].double(), velocity, **exact)
    torch.testing.assert_close(w.detach().double(), moved, **exact)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    """Of this process alone."""
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("of_weights", "of_gradients"),
    [(Shard(0), Shard(0)), (Replicate(), Partial())],
    ids=["split alike", "not summed yet"],
)
def test_distributed_tensors_are_updated_in_one_pass_too(
    mesh: DeviceMesh, of_weights: Placement, of_gradients: Placement
) -> None:
    w, gradient = torch.randn(6, 4), torch.randn(6, 4)
    spread = DTensor.from_local(w.clone(), mesh, [of_weights]).requires_grad_()
    spread.grad = DTensor.from_local(gradient, mesh, [of_gradients])
    whole = w.clone().requires_grad_()
    whole.grad = gradient
    for one in (spread, whole):
        optimizer = PaperSGD([one], lr=0.1)
        for _ in range(2):
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                optimizer.step()
            assert [e.name for e in seen.events()].count("aten::_fused_sgd_") == 1
    torch.testing.assert_close(spread.to_local(), whole, rtol=0, atol=0)


def test_defaults_are_the_constants_of_the_paper(weights: list[Tensor]) -> None:
    (group,) = PaperSGD(weights).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 0.0005)


def test_equals_torch_sgd_while_the_learning_rate_is_constant(
    weights: list[Tensor], gradients: list[list[Tensor]]
) -> None:
    others = [w.detach().clone().requires_grad_() for w in weights]
    ours = PaperSGD(weights, lr=0.1, momentum=0.9, weight_decay=0.01)
    theirs = torch.optim.SGD(others, lr=0.1, momentum=0.9, weight_decay=0.01)
    for grads in gradients:
        step(ours, weights, grads)
        step(theirs, others, grads)
        torch.testing.assert_close(weights, others, rtol=1e-12, atol=1e-14)


def test_after_a_division_earlier_steps_keep_their_size_unlike_in_torch_sgd(
    weights: list[Tensor], gradients: list[list[Tensor]]
) -> None:
    others = [w.detach().clone().requires_grad_() for w in weights]
    ours = PaperSGD(weights, lr=0.1, momentum=0.9, weight_decay=0.0)
    theirs = torch.optim.SGD(others, lr=0.1, momentum=0.9)
    start = [w.detach().clone() for w in weights]
    step(ours, weights, gradients[0])
    step(theirs, others, gradients[0])
    first = [w.detach() - s for w, s in zip(weights, start, strict=True)]
    for optimizer in (ours, theirs):
        optimizer.param_groups[0]["lr"] = 0.01
    nothing = [torch.zeros_like(w) for w in weights]
    before = [w.detach().clone() for w in weights]
    step(ours, weights, nothing)
    step(theirs, others, nothing)
    for w, other, b, f in zip(weights, others, before, first, strict=True):
        torch.testing.assert_close(w.detach() - b, 0.9 * f)
        torch.testing.assert_close(other.detach() - b, 0.09 * f)


def test_weight_decay_is_scaled_by_the_learning_rate(weights: list[Tensor]) -> None:
    start = [w.detach().clone() for w in weights]
    step(PaperSGD(weights, lr=0.1, weight_decay=0.5), weights, [torch.zeros_like(w) for w in start])
    for w, s in zip(weights, start, strict=True):
        torch.testing.assert_close(w.detach(), (1 - 0.1 * 0.5) * s)


def test_a_learning_rate_of_zero_leaves_only_the_fading_velocity(
    weights: list[Tensor], gradients: list[list[Tensor]]
) -> None:
    optimizer = PaperSGD(weights, lr=0.1)
    step(optimizer, weights, gradients[0])
    velocity = optimizer.state[weights[0]]["velocity"].clone()
    before = weights[0].detach().clone()
    optimizer.param_groups[0]["lr"] = 0.0
    step(optimizer, weights, gradients[1])
    torch.testing.assert_close(weights[0].detach() - before, 0.9 * velocity)


def test_a_parameter_without_gradient_is_left_alone(
    weights: list[Tensor], gradients: list[list[Tensor]]
) -> None:
    optimizer = PaperSGD(weights, lr=0.1, weight_decay=0.5)
    start = [w.detach().clone() for w in weights]
    weights[0].grad, weights[2].grad = gradients[0][0], gradients[0][2]
    optimizer.step()
    assert torch.equal(weights[1].detach(), start[1])
    assert weights[1] not in optimizer.state
    assert not torch.equal(weights[0].detach(), start[0])
    assert not torch.equal(weights[2].detach(), start[2])


def test_a_group_without_gradients_is_left_alone(
    weights: list[Tensor], gradients: list[list[Tensor]]
) -> None:
    # A frozen layer with constants that no other layer has.
    frozen = weights[1].requires_grad_(False)
    groups = [{"params": [weights[0]], "lr": 0.1}, {"params": [frozen], "lr": 0.2}]
    optimizer = PaperSGD(groups)
    start = [w.detach().clone() for w in weights]
    weights[0].grad = gradients[0][0]
    optimizer.step()
    assert torch.equal(frozen, start[1])
    assert not torch.equal(weights[0].detach(), start[0])


def test_gradients_are_left_as_they_are(
    weights: list[Tensor], gradients: list[list[Tensor]]
) -> None:
    optimizer = PaperSGD(weights, lr=0.1, weight_decay=0.5)
    step(optimizer, weights, gradients[0])
    for w, grad in zip(weights, gradients[0], strict=True):
        assert w.grad is not None
        assert torch.equal(w.grad, grad)


def test_every_group_has_its_own_constants(
    weights: list[Tensor], gradients: list[list[Tensor]]
) -> None:
    constants = [(0.1, 0.9, 0.5), (0.1, 0.5, 0.0), (0.01, 0.9, 0.5)]
    names = ("lr", "momentum", "weight_decay")
    groups = [
        {"params": [w], **dict(zip(names, c, strict=True))}
        for w, c in zip(weights, constants, strict=True)
    ]
    alone = [w.detach().clone().requires_grad_() for w in weights]
    together = PaperSGD(groups)
    separate = [PaperSGD([w], *c) for w, c in zip(alone, constants, strict=True)]
    for grads in gradients:
        step(together, weights, grads)
        for optimizer, w, grad in zip(separate, alone, grads, strict=True):
            step(optimizer, [w], [grad])
    torch.testing.assert_close(weights, alone)


def test_a_closure_is_evaluated_with_gradients(weights: list[Tensor]) -> None:
    optimizer = PaperSGD(weights[:1], lr=0.1, weight_decay=0.0)
    start = weights[0].detach().clone()

    def closure() -> float:
        loss = weights[0].square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == pytest.approx(float(start.square().sum()))
    torch.testing.assert_close(weights[0].detach(), start - 0.1 * 2 * start)


def test_a_restored_optimizer_goes_on_identically(
    weights: list[Tensor], gradients: list[list[Tensor]]
) -> None:
    optimizer = PaperSGD(weights, lr=0.1, weight_decay=0.01)
    for grads in gradients[:5]:
        step(optimizer, weights, grads)
    optimizer.param_groups[0]["lr"] = 0.01
    state = copy.deepcopy(optimizer.state_dict())
    restored_weights = [w.detach().clone().requires_grad_() for w in weights]
    restored = PaperSGD(restored_weights)
    restored.load_state_dict(state)
    assert restored.param_groups[0]["lr"] == 0.01
    for grads in gradients[5:]:
        step(optimizer, weights, grads)
        step(restored, restored_weights, grads)
    assert all(map(torch.equal, weights, restored_weights))


@pytest.fixture
def largest_allocation() -> Any:
    """Bytes of the largest single allocation of an optimizer's second step on 8 MB of weights."""

    def measured(kind: type[torch.optim.Optimizer], **options: Any) -> int:
        kernels = torch.randn(100, 100, 10, 10).to(memory_format=torch.channels_last)
        weights = [torch.randn(1000, 1000).requires_grad_(), kernels.requires_grad_()]
        for w in weights:
            w.grad = torch.randn_like(w)
        optimizer = kind(weights, **options)
        optimizer.step()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            optimizer.step()
        return max(event.self_cpu_memory_usage for event in profiler.events())

    return measured


def test_a_step_makes_no_temporary_of_the_size_of_the_model(largest_allocation: Any) -> None:
    options = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005}
    assert largest_allocation(PaperSGD, **options) < 10_000
    # What the measure shows where there is one:
    assert largest_allocation(torch.optim.SGD, foreach=True, **options) >= 4_000_000


# The groups of a network


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return AlexNet(num_classes=10, width=0.1)


def test_there_is_a_group_for_every_parameter_by_name(network: nn.Module) -> None:
    groups = paper_sgd(network, **PAPER).param_groups
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    assert [group["name"] for group in groups] == [
        f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")
    ]
    for group in groups:
        (parameter,) = group["params"]
        assert parameter is network.get_parameter(group["name"])


def test_in_the_paper_weights_and_biases_are_alike(network: nn.Module) -> None:
    for group in paper_sgd(network, **PAPER).param_groups:
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 0.0005)
        assert group["scheduled"]


def test_in_the_2012_program_biases_have_their_own_rate_and_no_decay(network: nn.Module) -> None:
    for group in paper_sgd(network, **SOURCE2012).param_groups:
        if group["name"].endswith("weight"):
            assert (group["lr"], group["weight_decay"]) == (0.01, 0.0005)
            assert group["scheduled"]
        else:
            assert (group["lr"], group["weight_decay"]) == (0.02, 0.0)
            assert not group["scheduled"]


def test_weight_decay_can_differ_by_layer(network: nn.Module) -> None:
    by_layer = {"conv1": 0.0, "fc8": 1.0, "others": 0.004}
    options = SOURCE2012 | {"weight_decay": by_layer}
    decay = {g["name"]: g["weight_decay"] for g in paper_sgd(network, **options).param_groups}
    assert (decay["conv1.weight"], decay["fc8.weight"]) == (0.0, 1.0)
    assert decay["conv2.weight"] == decay["fc7.weight"] == 0.004
    assert not any(value for name, value in decay.items() if name.endswith("bias"))


def test_a_bias_rate_of_zero_is_not_taken_for_none(network: nn.Module) -> None:
    for group in paper_sgd(network, **(PAPER | {"bias_lr": 0.0})).param_groups:
        assert group["lr"] == (0.01 if group["name"].endswith("weight") else 0.0)


def test_names_and_schedule_marks_survive_a_checkpoint(network: nn.Module) -> None:
    saved = paper_sgd(network, **SOURCE2012).state_dict()
    restored = paper_sgd(network, **PAPER)
    restored.load_state_dict(saved)
    assert [g["scheduled"] for g in restored.param_groups] == [True, False] * 8
    assert restored.param_groups[3]["name"] == "conv2.bias"
    assert restored.param_groups[3]["lr"] == 0.02


def test_a_layer_may_have_a_learning_rate_of_its_own() -> None:
    groups = paper_sgd(AlexNet(10, width=0.05), lr={"conv1": 1e-5, "others": 3e-3}).param_groups
    assert {group["lr"] for group in groups if group["name"].startswith("conv1.")} == {1e-5}
    assert {group["lr"] for group in groups if not group["name"].startswith("conv1.")} == {3e-3}
    with pytest.raises(ValueError, match="lr: add others"):
        paper_sgd(AlexNet(10, width=0.05), lr={"conv1": 1e-5})
