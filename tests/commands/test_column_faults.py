"""Columns that lose a process, are interrupted, or cannot be arranged."""

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.forks import Fork, Forks

pytestmark = pytest.mark.long

Command = Callable[..., subprocess.CompletedProcess[str]]
TWO = ("trainer=two_cpu", "strategy.micro_batches=2", "optimizer.lr=1e-9")
linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")


def wait_for_epochs(process: Fork, curves: Callable[[], list[Path]]) -> None:
    while not any(len(path.read_text().splitlines()) > 3 for path in curves()):
        assert process.poll() is None, process.printed
        time.sleep(0.1)


def descendants(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [found for child in map(int, text.split()) for found in (child, *descendants(child))]


def ranks(pid: int) -> dict[str, int]:
    """The processes below ``pid`` that are columns, by their rank."""
    found = {}
    for child in descendants(pid):
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {e[5:].decode(): child for e in environment if e.startswith(b"RANK=")}
    return found


def last_checkpoint(directory: Path) -> Path:
    (path,) = directory.glob("**/checkpoints/last.ckpt")
    return path


@linux
@pytest.mark.parametrize(
    ("sent", "reason", "then"),
    [
        (signal.SIGKILL, "was ended by SIGKILL", TWO),
        (signal.SIGSTOP, "strategy.timeout", ("optimizer.lr=1e-9",)),
    ],
    ids=["killed", "hung"],
)
def test_a_lost_process_ends_the_command_and_its_run_goes_on(
    tiny: list[str],
    train_tiny: Command,
    forks: Forks,
    tmp_path: Path,
    sent: signal.Signals,
    reason: str,
    then: tuple[str, ...],
) -> None:
    arguments = ["schedule.epochs=400", "run_name=lost", "strategy.timeout=20"]
    process = forks.start("-m", "alexnet_repro.train", *tiny, *TWO, *arguments, cwd=tmp_path)
    wait_for_epochs(process, lambda: list(tmp_path.glob("runs/lost/*/curve.csv")))
    columns = ranks(process.pid)
    assert columns.keys() == {"0", "1"}
    os.kill(columns["1"], sent)
    assert process.wait() == 2, process.printed
    told = process.printed
    assert "rank 1" in told
    assert reason in told
    assert "resume=" in told
    assert "Traceback" not in told
    assert not any(Path(f"/proc/{pid}").exists() for pid in columns.values())

    last = last_checkpoint(tmp_path)
    assert [path.name for path in last.parent.iterdir() if path.suffix != ".ckpt"] == []
    epochs = torch.load(last, weights_only=True)["epoch"] + 2
    resume = ("run_name=lost", "resume=last", "resume_with=schedule.epochs")
    done = train_tiny(*then, f"schedule.epochs={epochs}", *resume)
    assert done.returncode == 0, done.stderr
    result = json.loads((last.parents[1] / "result.json").read_text())
    assert result["epochs"] == epochs


@linux
def test_a_sweep_has_two_processes_for_each_job_and_leaves_none_after_ctrl_c(
    tiny: list[str], forks: Forks, tmp_path: Path
) -> None:
    sweep = ["-m", *tiny, *TWO, "schedule.epochs=1,400", "hydra.sweep.dir=sweep"]
    process = forks.start("-m", "alexnet_repro.train", *sweep, cwd=tmp_path)
    wait_for_epochs(process, lambda: list(tmp_path.glob("sweep/1_*/curve.csv")))
    everybody = descendants(process.pid)
    assert ranks(process.pid).keys() == {"0", "1"}
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 128 + signal.SIGINT
    assert not any(Path(f"/proc/{pid}").exists() for pid in everybody)
    assert f"resume={last_of_job(tmp_path, 1)}" in process.stdout

    jobs = sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert jobs == ["0_alexnet_seed0", "1_alexnet_seed0"]
    for job in jobs:
        # One process alone writes messages.
        assert (tmp_path / "sweep" / job / "run.log").read_text().count("training images") == 1
    assert (tmp_path / "sweep" / jobs[0] / "result.json").is_file()
    assert (
        "network.conv1.weight"
        in torch.load(last_of_job(tmp_path, 1), weights_only=True)["state_dict"]
    )
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["completed"]


def last_of_job(directory: Path, job: int) -> Path:
    return directory / "sweep" / f"{job}_alexnet_seed0" / "checkpoints" / "last.ckpt"
