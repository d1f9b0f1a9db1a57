"""What a training step does is counted, not timed: it stays at or under these figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alexnet_repro import AlexNet
from alexnet_repro.training.sgd import PaperSGD
from overhead import classifier, fitted, plain_loop, random_batches, watching
from step import Step, random_batch

IMAGES = 4

# Of norms that are not compiled.
OPERATIONS = {"exact": 144, "fast": 173}
OPERATIONS_OF_A_RUN = 20
"""Beyond those of the network and the update: what is counted, and whether a loss is finite."""
ALLOCATIONS = {"exact": 140, "fast": 169}
KILOBYTES_SAVED = {"exact": 6_642, "fast": 10_952}
"""In bfloat16 the weights are saved too, in that type; of 32-bit weights there is but one copy."""


class Counted(TorchDispatchMode):
    """Counts what is computed, and the tensors that memory is allocated for. A view is neither."""

    operations, allocations = 0, 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = op(*args, **(kwargs or {}))
        if not op.is_view:
            self.operations += 1
            given = set(map(_storage, _tensors((args, kwargs))))
            self.allocations += len(set(map(_storage, _tensors(result))) - given)
        return result


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@pytest.fixture(params=["exact", "fast"])
def performance(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def step(performance: str) -> Step:
    network = AlexNet(10, width=0.25).to(memory_format=torch.channels_last)
    optimizer = PaperSGD(network.parameters())
    images, label = (tensor.cpu() for tensor in random_batch(IMAGES, classes=10))
    step = Step(network, optimizer, images, label, bf16=performance == "fast")
    step()  # makes the velocities
    return step


def test_operations_and_allocations_of_a_step(step: Step, performance: str) -> None:
    with Counted() as counted:
        step()
    assert 0 < counted.operations <= OPERATIONS[performance]
    assert 0 < counted.allocations <= ALLOCATIONS[performance]


def test_what_is_saved_for_the_way_back(step: Step, performance: str) -> None:
    assert isinstance(step.network, nn.Module)
    weights = set(map(_storage, step.network.parameters()))
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            saved[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    assert 0 < sum(saved.values()) / 1000 <= KILOBYTES_SAVED[performance]


def test_what_a_run_adds_to_a_plain_loop_is_few_operations(tmp_path: Path) -> None:
    def of_a_step(loop: Callable[[Any], object]) -> float:
        counts = []
        for batches in (2, 12):
            with Counted() as counted:
                loop(random_batches(batches))
            counts.append(counted.operations)
        return (counts[1] - counts[0]) / 10

    plain = of_a_step(plain_loop)
    whole = of_a_step(lambda batches: fitted(classifier(), batches, *watching(tmp_path)))
    assert plain < whole <= plain + OPERATIONS_OF_A_RUN
