"""Replicas of the whole network train and save what one process does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from networks import EPOCH, STEPS, fitted, trained, whole_networks
from test_pipeline import assert_equal
from test_strategy import assert_saved


@pytest.fixture(scope="module")
def directory(torchrun: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two replicas saved of every network."""
    path: Path = tmp_path_factory.mktemp("replicas")
    torchrun("data_parallel.py", path)
    return path


@pytest.mark.parametrize("name", whole_networks())
def test_two_replicas_compute_ten_steps_of_one_process(directory: Path, name: str) -> None:
    one = trained(whole_networks()[name], lambda whole: whole, STEPS)
    two = torch.load(directory / f"{name}.pt", weights_only=True)
    for mine, theirs in zip(two["losses"], one["losses"], strict=True):
        assert_equal(mine, theirs)
    assert two["gradients"].keys() == one["gradients"].keys()
    for parameter, gradient in one["gradients"].items():
        assert gradient.abs().max() > 0, parameter
        assert_equal(two["gradients"][parameter], gradient)
    saved = torch.load(directory / f"{name}.ckpt", weights_only=True)
    assert saved["global_step"] == STEPS
    for parameter, weights in one["weights"].items():
        assert_equal(saved["state_dict"][f"network.{parameter}"], weights)


def test_a_checkpoint_goes_from_one_to_replicas_to_columns_and_back(
    torchrun: Any, tmp_path: Path
) -> None:
    one, two, columns, again = (
        tmp_path / f"{name}.ckpt" for name in ("one", "on", "columns", "again")
    )
    fitted("auto", start=None, output=str(one))
    torchrun("data_parallel.py", tmp_path, one)
    assert_saved(two, 2 * EPOCH)
    torchrun("replicas.py", two, columns, processes=2)
    fitted("auto", start=str(columns), output=str(again))
    assert_saved(again, 4 * EPOCH)
