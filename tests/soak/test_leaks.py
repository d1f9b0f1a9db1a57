"""Nothing grows from epoch to epoch, and nothing is left when a training has ended in any way.

``make soak`` watches 2,000 steps in 20 epochs.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from alexnet_repro.training.checkpoint import LAST
from tests.forks import Fork, Forks

from .killing import train
from .leaking import descendants, growth, watched

pytestmark = pytest.mark.long

SMALL = ["model.width=0.05", "data.image_size=32", "data.crop_size=28", "schedule.patience=1000"]


def test_memory_files_threads_and_processes_do_not_grow(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    seen = watched(forks, tmp_path, [*tiny, *SMALL, "trainer=cpu", "data.num_workers=1"], 20)
    assert len(seen) >= 8
    grown = growth(seen, after=3)
    assert grown["bytes"] < 16 * 2**20
    assert grown["files"] <= 0
    assert grown["threads"] <= 0
    assert grown["processes"] <= 0


def begun(forks: Forks, directory: Path, *arguments: str) -> tuple[Fork, list[int]]:
    """A run that has saved its first epoch, and the processes that it started."""
    run = train(forks, directory, *arguments)
    while not (directory / "run" / "checkpoints" / LAST).exists():
        assert run.poll() is None, run.printed
        time.sleep(0.02)
    return run, descendants(run.pid)


def alive(processes: list[int]) -> list[int]:
    """Those that run still; what has ended and was not waited for does not."""
    found = []
    for pid in processes:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [pid] if state != "Z" else []
    return found


def wait_until_gone(processes: list[int]) -> None:
    # A worker looks every 5 seconds for the process that started it.
    deadline = time.monotonic() + 60
    while alive(processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(processes) == []


@pytest.mark.parametrize("trainer", ["cpu", "two_cpu"])
def test_workers_and_columns_end_with_the_process_that_is_killed(
    forks: Forks, tiny: list[str], tmp_path: Path, trainer: str
) -> None:
    arguments = [*tiny, *SMALL, f"trainer={trainer}", "data.num_workers=1"]
    run, started = begun(forks, tmp_path, *arguments, "schedule.epochs=100000")
    assert len(started) >= (2 if trainer == "cpu" else 4)  # workers of training and validation
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    wait_until_gone(started)


EXPLODES = [
    "schedule=source2012",
    "schedule.notes_epochs=6",
    "schedule.changes=[{epoch:4,weights:{others:1.0e+30}}]",
]


@pytest.mark.parametrize(("schedule", "code"), [([], 0), (EXPLODES, 2)])
def test_workers_end_with_a_run_that_succeeds_and_with_one_that_fails(
    forks: Forks, tiny: list[str], tmp_path: Path, schedule: list[str], code: int
) -> None:
    arguments = [*tiny, *SMALL[:-1], "trainer=cpu", "data.num_workers=1", *schedule]
    run, started = begun(forks, tmp_path, *arguments, "schedule.epochs=6")
    assert len(started) == 2
    assert run.wait() == code, run.printed
    assert ("the loss is " in run.printed) == bool(code)
    wait_until_gone([run.pid, *started])
