"""Columns and replicas of them, through Lightning, train and save what one process does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from networks import EPOCH, fitted, network, trained
from test_pipeline import assert_equal

from alexnet_repro import AlexNet
from alexnet_repro.base.errors import UsageError
from alexnet_repro.columns.strategy import the_network


def assert_saved(path: Path, steps: int, relative: float = 1e-12) -> None:
    """The checkpoint has the weights and velocities of so many steps of one process."""
    saved = torch.load(path, weights_only=True)
    one = trained(network(), lambda whole: whole, steps)
    assert saved["global_step"] == steps
    for name, weights in one["weights"].items():
        assert_equal(saved["state_dict"][f"network.{name}"], weights, relative)
    (optimizer,) = saved["optimizer_states"]
    assert {group["name"] for group in optimizer["param_groups"]} == one["velocities"].keys()
    for group in optimizer["param_groups"]:
        (index,) = group["params"]
        velocity = one["velocities"][group["name"]]
        assert velocity.abs().max() > 0
        assert_equal(optimizer["state"][index]["velocity"], velocity, relative)


def test_a_checkpoint_goes_round_all_arrangements(torchrun: Any, tmp_path: Path) -> None:
    one, four, two, again = (tmp_path / f"{name}.ckpt" for name in ("one", "four", "two", "again"))
    fitted("auto", start=None, output=str(one))
    # Four processes are two replicas of two columns.
    torchrun("replicas.py", one, four, processes=4)
    assert_saved(four, 2 * EPOCH)
    torchrun("replicas.py", four, two, processes=2)
    assert_saved(two, 3 * EPOCH)
    fitted("auto", start=str(two), output=str(again))
    assert_saved(again, 4 * EPOCH)


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_checkpoint_goes_from_one_gpu_to_two_and_back(torchrun: Any, tmp_path: Path) -> None:
    one, two, again = (tmp_path / f"{name}.ckpt" for name in ("one", "two", "again"))
    fitted("auto", start=None, output=str(one), accelerator="gpu")
    torchrun("replicas.py", one, two, "gpu", processes=2)
    fitted("auto", start=str(two), output=str(again), accelerator="gpu")
    # The reference is computed on the CPU, which sums in another order.
    assert_saved(again, 3 * EPOCH, relative=1e-8)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_two_columns_share_a_gpu_over_gloo(torchrun: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one.ckpt", tmp_path / "two.ckpt"
    fitted("auto", start=None, output=str(one), accelerator="gpu")
    torchrun("replicas.py", one, two, "gpu", "gloo", processes=2)
    assert_saved(two, 2 * EPOCH, relative=1e-8)


@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_network_is_refused(whole: bool) -> None:
    compiled = network()
    if whole:
        compiled = torch.compile(compiled)
    else:
        compiled.fc6.compile()
    with pytest.raises(UsageError, match=r"torch\.compile") as refused:
        the_network(torch.nn.Sequential(compiled))
    assert "\n" not in str(refused.value)


def test_windows_that_cross_the_columns_are_refused() -> None:
    caffe = AlexNet(width=0.1, response_norm={"columns": 1})
    with pytest.raises(UsageError, match=r"response_norm\.columns=1") as refused:
        the_network(torch.nn.Sequential(caffe))
    assert "\n" not in str(refused.value)
