"""Runs are taken for the same only if they train the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from alexnet_repro.training.checkpoint import (
    best_validation_error,
    finished_run,
    interrupted_run,
    same_configuration,
)

CONFIG: dict[str, Any] = {"seed": 1, "optimizer": {"lr": 0.01}, "skip_finished": False}


def test_a_job_is_found_under_another_number_and_only_with_its_configuration(
    tmp_path: Path,
) -> None:
    finished = tmp_path / "3_alexnet_seed1" / "result.json"
    finished.parent.mkdir()
    finished.write_text(json.dumps({"config": CONFIG}))
    job = tmp_path / "0_alexnet_seed1"
    assert finished_run(job, CONFIG | {"skip_finished": True, "logger": {"csv": {}}}) == finished
    assert finished_run(job, CONFIG | {"seed": 2}) is None
    assert finished_run(job, CONFIG | {"optimizer": {"lr": 0.1}}) is None


def test_an_interrupted_job_goes_on_only_with_its_own_configuration(tiny_run: Path) -> None:
    config = json.loads((tiny_run / "result.json").read_text())["config"]
    last = tiny_run / "checkpoints" / "last.ckpt"
    assert interrupted_run(tiny_run, config | {"resume": "last"}) == last
    assert interrupted_run(tiny_run, config | {"seed": 5}) is None
    assert interrupted_run(tiny_run.parent / "none", config) is None


@pytest.mark.parametrize("key", ["logger", "resume", "summary", "checkpoint_every_n_steps"])
def test_what_changes_no_figure_makes_no_other_configuration(key: str) -> None:
    assert same_configuration(CONFIG, CONFIG | {key: "other"})
    assert not same_configuration(CONFIG, CONFIG | {"data": "other"})


def test_a_search_minimizes_the_best_epoch(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"curve": [{"val/top1_error": e} for e in (60.0, 41.5, 43.0)]}))
    assert best_validation_error(path) == 41.5
