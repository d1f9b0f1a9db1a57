"""A training that ``trainer.max_steps`` cuts within an epoch goes on within it."""

import json
from pathlib import Path

import pytest

from alexnet_repro.training.checkpoint import LAST
from tests.forks import Forks

from .killing import compare, step_of, trained, whole_run


@pytest.mark.parametrize("steps", [2, 5])
def test_a_run_that_is_cut_and_resumed_ends_like_a_whole_one(
    forks: Forks, tiny: list[str], tmp_path: Path, steps: int
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    # Three steps an epoch; the learning rate falls after every one.
    arguments = [*tiny, "trainer=cpu", "schedule.epochs=3", "schedule.patience=1"]
    arguments += ["schedule.threshold=100", "schedule.divisions=9"]
    cut = tmp_path / "cut" / "run"
    code, output = trained(forks, tmp_path / "cut", *arguments, f"trainer.max_steps={steps}")
    assert code == 0, output
    last = cut / "checkpoints" / LAST
    assert step_of(last) == steps
    assert json.loads((cut / "result.json").read_text())["epochs"] == steps // 3
    code, output = trained(forks, tmp_path / "cut", *arguments, f"resume={last}")
    assert code == 0, output
    different = compare(whole_run(forks, tmp_path / "whole", arguments), cut)
    # best.ckpt may be of before the cut, and says what was asked for then.
    assert [line for line in different if "/config/" not in line] == []
