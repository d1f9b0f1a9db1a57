"""What the benchmark of a training step compares, and what it counts."""

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from alexnet_repro import AlexNet, ResponseNorm
from alexnet_repro.benchmarks.roof import _seconds_by_layer, products
from alexnet_repro.benchmarks.train_step import EXACT, FAST, PLAIN, TORCHVISION, step_of
from alexnet_repro.network.pooling import MaxPool

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", [PLAIN, TORCHVISION, EXACT, FAST])
def test_a_step_moves_every_weight(name: str) -> None:
    step = step_of(name, CPU, batch_size=2, classes=10)
    before = [weights.detach().clone() for weights in step.network.parameters()]
    step()
    moved = zip(before, step.network.parameters(), strict=True)
    assert not any(torch.equal(old, new) for old, new in moved)


def test_plain_and_exact_are_the_same_network_but_for_windows_across_columns() -> None:
    plain = step_of(PLAIN, CPU, batch_size=1, classes=10).network
    exact = step_of(EXACT, CPU, batch_size=1, classes=10).network
    assert not any(isinstance(module, ResponseNorm | MaxPool) for module in plain.modules())
    plain.load_state_dict(exact.state_dict())
    image = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(plain.eval()(image), exact.eval()(image), rtol=1e-3, atol=1e-3)
    # Maps in the middle of a column have the same neighbours in both.
    maps = 20 * torch.randn(1, 96, 3, 3)
    norms = [network.get_submodule("conv1_norm") for network in (plain, exact)]
    found = [norm(maps)[:, 2:46] for norm in norms]
    torch.testing.assert_close(found[0], found[1])


def test_products_are_those_of_the_papers_network_and_a_profiler_finds_all() -> None:
    step = step_of(FAST, CPU, batch_size=2)
    network = step.network
    assert isinstance(network, AlexNet)
    found = products(network, step.images, torch.bfloat16)
    # 724.4 million multiply-adds an image (README), 105.4 of them in conv1.
    forward_and_back = 2 * 1e6 * (3 * 724.4 - 105.4)
    assert sum(p.multiply_adds for p in found) == pytest.approx(forward_and_back, rel=1e-3)
    for product in found:
        product.run()
    step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        step()
    seconds = _seconds_by_layer(network, seen.events(), CPU)
    names = [n for n, m in network.named_children() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert list(seconds) == names
    assert all(time > 0 for time in seconds.values())
