"""Optimizers and schedules of torch: a run that is cut and resumed is the run that was not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from .conftest import Command

WARM_COSINE = ["optimizer=adamw", "schedule=cosine", "schedule.warmup_epochs=0.5"]
PLATEAU = [
    "optimizer=sgd",
    "schedule._target_=torch.optim.lr_scheduler.ReduceLROnPlateau",
    "schedule.patience=0",
    "schedule.threshold=50",
]
LENGTH = ["trainer=cpu", "optimizer.lr=0.0001", "schedule.epochs=3"]


def _last(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return read


@pytest.mark.parametrize(
    ("schedule", "cut"), [(WARM_COSINE, 4), (PLATEAU, 6)], ids=["within_an_epoch", "at_its_end"]
)
def test_it_is_resumed_where_it_was(
    schedule: list[str], cut: int, tmp_path: Path, train_tiny: Command
) -> None:
    def run(folder: str, *more: str) -> None:
        done = train_tiny(*schedule, *LENGTH, f"hydra.run.dir={folder}", *more)
        assert done.returncode == 0, done.stderr

    run("whole")
    whole = _last(tmp_path / "whole")
    assert whole["global_step"] == 9
    run("cut", f"trainer.max_steps={cut}")
    assert _last(tmp_path / "cut")["global_step"] == cut
    run("cut", "resume=cut/checkpoints/last.ckpt")
    resumed = _last(tmp_path / "cut")
    assert resumed["lr_schedulers"] == whole["lr_schedulers"]
    for key, weights in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][key], weights), key


def test_the_curve_holds_the_rate_that_an_epoch_was_trained_with(
    tmp_path: Path, train_tiny: Command
) -> None:
    steps = ["schedule=step", "schedule.step_size=1", "schedule.epochs=3"]
    done = train_tiny("trainer=cpu", "optimizer=sgd", *steps, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    rows = _last(tmp_path / "run")["callbacks"]["Curve"]["rows"]
    assert [row["lr"] for row in rows] == pytest.approx([0.01, 0.001, 0.0001])
