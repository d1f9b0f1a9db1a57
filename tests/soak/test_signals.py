"""Signals end a run between steps, saved, with the exit code that shells and SLURM expect."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from alexnet_repro.training.checkpoint import LAST
from tests.forks import Fork, Forks

from .killing import compare, train, trained, whole_run

pytestmark = pytest.mark.long

STEPS = ["trainer=cpu", "schedule.patience=1000", "data.num_workers=0"]
ENDLESS = "schedule.epochs=100000"


def begun(forks: Forks, directory: Path, *arguments: str, **options: Any) -> Fork:
    """A run that has just saved its first epoch."""
    run = train(forks, directory, *arguments, **options)
    while not (directory / "run" / "checkpoints" / LAST).exists():
        assert run.poll() is None, run.printed
        time.sleep(0.02)
    return run


def test_sigterm_saves_within_the_epoch_and_the_run_ends_like_an_undisturbed_one(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole").mkdir()
    run = begun(forks, tmp_path / "cut", *tiny, *STEPS, ENDLESS)
    os.kill(run.pid, signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    output = run.printed
    last = tmp_path / "cut" / "run" / "checkpoints" / LAST
    assert "SIGTERM: saved, stopping" in output
    assert f"to resume, add resume={last} to the same command" in output
    assert "Traceback" not in output
    epochs = output.count("\nepoch ") + 2
    arguments = [*tiny, *STEPS, f"schedule.epochs={epochs}"]
    resume = [f"resume={last}", "resume_with=schedule.epochs"]
    code, output = trained(forks, tmp_path / "cut", *arguments, *resume)
    assert code == 0, output
    whole = whole_run(forks, tmp_path / "whole", arguments)
    # The epochs that were asked for in the beginning are all that is not the same.
    different = compare(whole, last.parents[1])
    assert [line for line in different if "/config/" not in line] == []


def test_a_second_ctrl_c_ends_at_once(forks: Forks, tiny: list[str], tmp_path: Path) -> None:
    run = begun(forks, tmp_path, *tiny, *STEPS, ENDLESS)
    os.kill(run.pid, signal.SIGINT)
    while "Ctrl-C once more ends at once" not in run.printed:
        assert run.poll() is None, run.printed
        time.sleep(0.001)
    with suppress(ProcessLookupError):
        os.kill(run.pid, signal.SIGINT)
    # It may have been quick enough to save before the second one came.
    assert run.wait() in (-signal.SIGINT, 128 + signal.SIGINT)


@pytest.mark.parametrize("goes_on", [True, False])
def test_before_its_time_is_up_a_slurm_job_is_queued_again_if_its_command_goes_on(
    forks: Forks, tiny: list[str], tmp_path: Path, goes_on: bool
) -> None:
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho $@ > {tmp_path}/asked\n")
    (tmp_path / "scontrol").chmod(0o755)
    slurm = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "17",
        "SLURM_JOB_NAME": "alexnet",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
    }
    goes = ["skip_finished=true"] if goes_on else []
    run = begun(forks, tmp_path, *tiny, *STEPS, ENDLESS, *goes, env=slurm)
    os.kill(run.pid, signal.SIGUSR1)
    assert run.wait() == 128 + signal.SIGUSR1
    output = run.printed
    assert "SIGUSR1: saved, stopping" in output
    if not goes_on:
        assert not (tmp_path / "asked").exists()
        assert "SLURM job 17 is not requeued" in output
        return
    assert (tmp_path / "asked").read_text() == "requeue 17\n"
    assert "requeueing SLURM job 17" in output
    # As SLURM starts it again: the same command, which goes on with the next epoch.
    epochs = output.count("\nepoch ")
    again = train(forks, tmp_path, *tiny, *STEPS, ENDLESS, *goes, env=slurm)
    while f"\nepoch {epochs + 2}/" not in again.stdout:
        assert again.poll() is None, again.printed
        time.sleep(0.02)
    again.kill()
    assert "\nepoch 1/" not in again.stdout
