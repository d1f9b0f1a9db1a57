"""Columns that lose a process, are interrupted, or cannot be arranged."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

Train = Callable[..., subprocess.CompletedProcess[str]]
TWO = ("trainer=two_cpu", "strategy.micro_batches=2", "optimizer.lr=1e-9")
linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")


@contextmanager
def running(directory: Path, cache: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The train command in a process group of its own, as a terminal starts it."""
    with subprocess.Popen(
        [sys.executable, "-m", "alexnet_repro.train", *arguments],
        cwd=directory,
        env=os.environ | {"ALEXNET_REPRO_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_epochs(process: subprocess.Popen[str], curves: Callable[[], list[Path]]) -> None:
    while not any(len(path.read_text().splitlines()) > 3 for path in curves()):
        assert process.poll() is None, process.communicate()
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
    train_tiny: Train,
    tmp_path: Path,
    cache: Path,
    sent: signal.Signals,
    reason: str,
    then: tuple[str, ...],
) -> None:
    arguments = ["schedule.epochs=400", "run_name=lost", "strategy.timeout=20"]
    with running(tmp_path, cache, *tiny, *TWO, *arguments) as process:
        wait_for_epochs(process, lambda: list(tmp_path.glob("runs/lost/*/curve.csv")))
        columns = ranks(process.pid)
        assert columns.keys() == {"0", "1"}
        os.kill(columns["1"], sent)
        told = "".join(process.communicate(timeout=200))
    assert process.returncode == 2
    assert "rank 1" in told
    assert reason in told
    assert "resume=" in told
    assert "Traceback" not in told
    assert not any(Path(f"/proc/{pid}").exists() for pid in columns.values())

    last = last_checkpoint(tmp_path)
    assert [path.name for path in last.parent.iterdir() if path.suffix != ".ckpt"] == []
    epochs = torch.load(last, weights_only=True)["epoch"] + 2
    done = train_tiny(
        *then, f"schedule.epochs={epochs}", "run_name=lost", "resume=last", OMP_NUM_THREADS="1"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((last.parents[1] / "result.json").read_text())
    assert result["epochs"] == epochs


@linux
def test_a_sweep_has_two_processes_for_each_job_and_leaves_none_after_ctrl_c(
    tiny: list[str], tmp_path: Path, cache: Path
) -> None:
    sweep = ["-m", *tiny, *TWO, "schedule.epochs=1,400", "hydra.sweep.dir=sweep"]
    with running(tmp_path, cache, *sweep) as process:
        wait_for_epochs(process, lambda: list(tmp_path.glob("sweep/1_*/curve.csv")))
        everybody = descendants(process.pid)
        assert ranks(process.pid).keys() == {"0", "1"}
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=200)
    assert process.returncode == 128 + signal.SIGINT
    assert not any(Path(f"/proc/{pid}").exists() for pid in everybody)
    assert f"resume={last_of_job(tmp_path, 1)}" in told

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
