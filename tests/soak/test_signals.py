"""Signals end a run between steps, saved, with the exit code that shells and SLURM expect."""

import os
import signal
import time
from pathlib import Path

import pytest

from alexnet_repro.learning.checkpoint_file import LAST

from .killing import Starter, compare, whole_run

STEPS = ["trainer=cpu", "schedule.patience=1000", "data.num_workers=0"]
ENDLESS = "schedule.epochs=100000"


def begun(starter: Starter, directory: Path, arguments: list[str], **environment: str) -> int:
    """The process id of a run that has just saved its first epoch."""
    output = directory / "output.txt"
    output.unlink(missing_ok=True)
    pid = starter.start(directory, [*arguments, "hydra.run.dir=run"], **environment)
    while not (directory / "run" / "checkpoints" / LAST).exists():
        assert Path(f"/proc/{pid}").exists(), output.read_text()
        time.sleep(0.02)
    return pid


def test_sigterm_saves_within_the_epoch_and_the_run_ends_like_an_undisturbed_one(
    starter: Starter, tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole").mkdir()
    pid = begun(starter, tmp_path / "cut", [*tiny, *STEPS, ENDLESS])
    os.kill(pid, signal.SIGTERM)
    assert starter.wait() == 128 + signal.SIGTERM
    output = (tmp_path / "cut" / "output.txt").read_text()
    last = tmp_path / "cut" / "run" / "checkpoints" / LAST
    assert "SIGTERM: saved, ending" in output
    assert f"goes on after its last checkpoint with resume={last}" in output
    assert "Traceback" not in output
    epochs = output.count("\nepoch ") + 2
    arguments = [*tiny, *STEPS, f"schedule.epochs={epochs}"]
    code, output = starter.run(tmp_path / "cut", *arguments, f"resume={last}", "hydra.run.dir=run")
    assert code == 0, output
    whole = whole_run(starter, tmp_path / "whole", arguments)
    # The epochs that were asked for in the beginning are all that is not the same.
    different = compare(whole, last.parents[1])
    assert [line for line in different if "/config/" not in line] == []


def test_a_second_ctrl_c_ends_at_once(starter: Starter, tiny: list[str], tmp_path: Path) -> None:
    pid = begun(starter, tmp_path, [*tiny, *STEPS, ENDLESS])
    os.kill(pid, signal.SIGINT)
    while "Ctrl-C once more ends at once" not in (tmp_path / "output.txt").read_text():
        time.sleep(0.001)
    os.kill(pid, signal.SIGINT)
    # It may have been quick enough to save before the second one came.
    assert starter.wait() in (-signal.SIGINT, 128 + signal.SIGINT)


@pytest.mark.parametrize("goes_on", [True, False])
def test_before_its_time_is_up_a_slurm_job_is_queued_again_if_its_command_goes_on(
    starter: Starter, tiny: list[str], tmp_path: Path, goes_on: bool
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
    pid = begun(starter, tmp_path, [*tiny, *STEPS, ENDLESS, *goes], **slurm)
    os.kill(pid, signal.SIGUSR1)
    assert starter.wait() == 128 + signal.SIGUSR1
    output = (tmp_path / "output.txt").read_text()
    assert "SIGUSR1: saved, ending" in output
    if not goes_on:
        assert not (tmp_path / "asked").exists()
        assert "SLURM job 17 is not queued again" in output
        return
    assert (tmp_path / "asked").read_text() == "requeue 17\n"
    assert "SLURM job 17 is queued again" in output
    # As SLURM starts it again: the same command, which goes on with the next epoch.
    epochs = output.count("\nepoch ")
    pid = starter.start(tmp_path, [*tiny, *STEPS, ENDLESS, *goes, "hydra.run.dir=run"], **slurm)
    while f"\nepoch {epochs + 2}/" not in (again := (tmp_path / "output.txt").read_text()):
        assert Path(f"/proc/{pid}").exists(), again
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    assert starter.wait() == -signal.SIGKILL
    assert again.count("\nepoch 1/") == 1
