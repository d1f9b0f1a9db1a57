"""What the benchmark of a training step compares, and what it counts."""

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from alexnet_repro import AlexNet, ResponseNorm
from alexnet_repro.network.layers import MaxPool
from step import DEVICE, EXACT, FAST, PLAIN, TORCHVISION, products, seconds_within, step_of


@pytest.mark.parametrize("name", [PLAIN, TORCHVISION, EXACT, FAST])
def test_a_step_moves_every_weight(name: str) -> None:
    step = step_of(name, batch_size=2, classes=10)
    assert isinstance(step.network, nn.Module)
    before = [weights.detach().clone() for weights in step.network.parameters()]
    step()
    moved = zip(before, step.network.parameters(), strict=True)
    assert not any(torch.equal(old, new) for old, new in moved)


def test_plain_and_exact_are_the_same_network_but_for_windows_across_columns() -> None:
    plain, exact = (step_of(name, batch_size=1, classes=10).network for name in (PLAIN, EXACT))
    assert isinstance(plain, nn.Module)
    assert isinstance(exact, nn.Module)
    assert not any(isinstance(module, ResponseNorm | MaxPool) for module in plain.modules())
    plain.load_state_dict(exact.state_dict())
    image = torch.randn(1, 3, 224, 224, device=DEVICE)
    torch.testing.assert_close(plain.eval()(image), exact.eval()(image), rtol=1e-3, atol=1e-3)
    # Maps in the middle of a column have the same neighbours in both.
    maps = 20 * torch.randn(1, 96, 3, 3, device=DEVICE)
    norms = [network.get_submodule("conv1_norm") for network in (plain, exact)]
    found = [norm(maps)[:, 2:46] for norm in norms]
    torch.testing.assert_close(found[0], found[1])


def test_products_are_those_of_the_papers_network_and_a_profiler_finds_all() -> None:
    step = step_of(FAST, batch_size=2)
    assert isinstance(step.network, AlexNet)
    found = products(step.network, step.images)
    by_hand = {
        "conv1": 2 * 55 * 55 * 96 * 11 * 11 * 3,  # no gradient of the image
        "conv2": 3 * 27 * 27 * 256 * 5 * 5 * 48,
        "conv3": 3 * 13 * 13 * 384 * 3 * 3 * 256,
        "conv4": 3 * 13 * 13 * 384 * 3 * 3 * 192,
        "conv5": 3 * 13 * 13 * 256 * 3 * 3 * 192,
        "fc6": 3 * 6 * 6 * 256 * 4096,
        "fc7": 3 * 4096 * 4096,
        "fc8": 3 * 4096 * 1000,
    }
    assert {p.name: p.multiply_adds for p in found} == {k: 2 * n for k, n in by_hand.items()}
    assert found[0].rate(1e-3) == round(2 * 2 * by_hand["conv1"] / 1e9 / 1e-3)  # 2 images
    for product in found:
        product.run()
    step()
    cuda = [ProfilerActivity.CUDA] if DEVICE.type == "cuda" else []
    with profile(activities=[ProfilerActivity.CPU, *cuda], record_shapes=True) as seen:
        step()
    assert all(seconds_within(found, seen.events(), batch_size=2).values())
