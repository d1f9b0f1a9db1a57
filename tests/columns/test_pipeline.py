"""Two columns in two processes compute what one computes, and exchange only what Fig. 2 shows."""

from typing import Any

import pytest
import torch
from networks import CLASSES, IMAGES, VARIANTS, network, steps, trained
from torch import Tensor

Found = dict[Any, Any]


@pytest.fixture(scope="module")
def found(torchrun: Any, tmp_path_factory: pytest.TempPathFactory) -> Found:
    path = tmp_path_factory.mktemp("columns") / "found.pt"
    torchrun("two_processes.py", path)
    loaded: Found = torch.load(path, weights_only=True)
    return loaded


@pytest.fixture(scope="module", params=VARIANTS)
def one_and_two(request: pytest.FixtureRequest, found: Found) -> tuple[Found, dict[int, Found]]:
    """What one process computes of a variant, and two columns at 1, 2 and 4 micro-batches."""
    one = trained(network(request.param), lambda whole: whole, steps(request.param))
    return one, {n: found[request.param, n] for n in (1, 2, 4)}


def assert_equal(two: Tensor, one: Tensor, relative: float = 1e-12) -> None:
    """To so much of the largest value; the computation is in double precision."""
    torch.testing.assert_close(two, one, rtol=0, atol=relative * float(one.abs().max()))


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_logits_loss_and_every_gradient_are_those_of_one_process(
    one_and_two: tuple[Found, dict[int, Found]], micro_batches: int
) -> None:
    one, two = one_and_two[0], one_and_two[1][micro_batches]
    assert_equal(two["logits"], one["logits"])
    assert_equal(two["losses"][0], one["losses"][0])
    assert two["gradients"].keys() == one["gradients"].keys()
    for name, gradient in one["gradients"].items():
        assert gradient.abs().max() > 0, name
        assert_equal(two["gradients"][name], gradient)


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_steps_of_the_papers_optimizer_give_the_same_weights(
    one_and_two: tuple[Found, dict[int, Found]], micro_batches: int
) -> None:
    one, two = one_and_two[0], one_and_two[1][micro_batches]
    for mine, theirs in zip(two["losses"], one["losses"], strict=True):
        assert_equal(mine, theirs)
    for name, weights in one["weights"].items():
        assert_equal(two["weights"][name], weights)


@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_a_batch_that_micro_batches_do_not_divide_is_evaluated_alike(
    one_and_two: tuple[Found, dict[int, Found]], micro_batches: int
) -> None:
    assert_equal(one_and_two[1][micro_batches]["uneven"], one_and_two[0]["uneven"])


# What crosses, from the paper's connectivity: half of the maps of conv2 pooled to 13×13, half of
# those of conv5 pooled to 6×6, half of fc6 and fc7; at the narrow width of these networks.
CONV2, CONV5, FC = 26 // 2 * 13 * 13, 26 // 2 * 6 * 6, 410 // 2
LOGITS = (CLASSES + 1) // 2
SENT = {
    "paper": [CONV2, CONV5, FC, FC],
    "six_conv": [CONV2, CONV5, CONV5, FC, FC],
    "remove_conv3": [CONV2, CONV5, FC, FC],
}


@pytest.mark.parametrize("variant", SENT)
@pytest.mark.parametrize("micro_batches", [1, 4])
@pytest.mark.parametrize("bf16", [False, True])
def test_only_what_must_cross_crosses(
    found: Found, variant: str, micro_batches: int, bf16: bool
) -> None:
    calls = found["exchanged", variant, micro_batches, bf16]
    size = 2 if bf16 else 4
    one_micro_batch = [bytes_ * size * IMAGES // micro_batches for bytes_ in SENT[variant]]
    logits = LOGITS * size * IMAGES // micro_batches
    forward = [count for count in (*one_micro_batch, logits) for _ in range(micro_batches)]
    assert [given for name, given in calls if name == "_allgather_base_"] == forward
    # A gradient of both halves is given; the half that the column keeps does not cross.
    backward = [2 * count for count in reversed(one_micro_batch) for _ in range(micro_batches)]
    assert [given for name, given in calls if name == "alltoall_base_"] == backward
    assert {name for name, _ in calls} == {"_allgather_base_", "alltoall_base_"}


def test_dropout_masks_differ_between_columns_and_follow_the_seed(found: Found) -> None:
    once, again, other = found["dropped"]
    assert not torch.equal(once[0], once[1])
    assert torch.equal(once[0], again[0])
    assert torch.equal(once[1], again[1])
    assert not torch.equal(once[0], other[0])
