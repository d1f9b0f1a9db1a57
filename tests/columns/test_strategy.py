"""Two replicas of two columns, four processes, train what one process trains."""

from pathlib import Path
from typing import Any

import torch
from networks import STEPS, network, trained
from test_pipeline import assert_equal


def test_two_replicas_of_two_columns_train_what_one_process_trains(
    torchrun: Any, tmp_path: Path
) -> None:
    torchrun("four_processes.py", tmp_path / "four.ckpt", processes=4)
    four = torch.load(tmp_path / "four.ckpt", weights_only=True)
    one = trained(network(), lambda whole: whole, STEPS)
    assert four["global_step"] == STEPS
    for name, weights in one["weights"].items():
        assert_equal(four["state_dict"][f"network.{name}"], weights)
    groups = four["optimizer_states"][0]["param_groups"]
    for group in groups:
        (index,) = group["params"]
        velocity = four["optimizer_states"][0]["state"][index]["velocity"]
        assert_equal(velocity, one["velocities"][group["name"]])
    assert {group["name"] for group in groups} == one["velocities"].keys()
