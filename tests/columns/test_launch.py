"""Who starts the processes of a run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from alexnet_repro.base.config import fail
from alexnet_repro.base.errors import DivergenceError, UsageError
from alexnet_repro.columns import launch
from alexnet_repro.columns.launch import in_processes, must_launch
from tests.forks import Forks

TORCHRUN = {"TORCHELASTIC_RUN_ID": "17", "WORLD_SIZE": "2"}
SRUN = {
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "1",
    "SLURM_STEP_NUM_TASKS": "2",
}

LAUNCHER = """
import os, subprocess, sys, time
variables = {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
variables |= {"TORCHELASTIC_RUN_ID": "17", "WORLD_SIZE": "2"}
command = [sys.executable, "-m", "alexnet_repro.train", "trainer=two_cpu"]
print(subprocess.Popen(command, env=os.environ | variables).pid, flush=True)
time.sleep(600)
"""
"""Starts a process as torchrun does."""


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "devices", "ours"),
    [
        ({}, 1, False),
        ({}, 2, True),
        (TORCHRUN, 2, False),
        (SRUN, 2, False),
        (SRUN | {"SLURM_JOB_NAME": "bash"}, 2, False),  # srun bash -c "alexnet train ..."
        # In a shell of SLURM, or the script of a job, nobody has started the tasks.
        (SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, 2, True),
        ({"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, 2, True),
        ({"SLURM_NTASKS": "1"}, 2, True),
    ],
)
def test_the_command_starts_what_nobody_has_started(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], devices: int, ours: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert must_launch({"devices": devices, "num_nodes": 1}) == ours


@pytest.mark.parametrize(
    ("environment", "trainer", "message"),
    [
        (TORCHRUN, {"devices": 4, "num_nodes": 1}, "are 4 processes, but torchrun started 2"),
        (SRUN, {"devices": 8, "num_nodes": 2}, "are 16 processes, but srun started 2"),
        (
            SRUN | {"SLURM_NTASKS_PER_NODE": ""},
            {"devices": 2, "num_nodes": 1},
            "start it with srun --ntasks-per-node=2 (it is not given)",
        ),
        (
            SRUN | {"SLURM_NNODES": "2"},
            {"devices": 2, "num_nodes": 1},
            "trainer.num_nodes=1: start it with srun --nodes=1 (it is 2)",
        ),
        ({}, {"devices": 8, "num_nodes": 2}, "start the command on every node, with torchrun or"),
    ],
)
def test_another_number_of_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    trainer: dict[str, int],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as refused:
        must_launch(trainer)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_signal_reaches_all_processes_the_one_before_a_time_limit_too(
    forks: Forks, tmp_path: Path
) -> None:
    (tmp_path / "child.py").write_text(
        "import pathlib, signal, sys\n"
        "def heard(number, frame):\n"
        "    pathlib.Path('heard').write_text(str(number))\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGUSR1, heard)\n"
        "pathlib.Path('ready').touch()\n"
        "signal.pause()\n"
    )
    (tmp_path / "parent.py").write_text(
        "import sys\n"
        "from alexnet_repro.columns.launch import in_processes\n"
        "in_processes(1, sys.executable, 'child.py')\n"
    )
    parent = forks.start(tmp_path / "parent.py", cwd=tmp_path)
    while not (tmp_path / "ready").exists():
        assert parent.poll() is None, parent.printed
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGUSR1)
    assert parent.wait(60) == 128 + signal.SIGUSR1
    assert (tmp_path / "heard").read_text() == str(int(signal.SIGUSR1))


@pytest.mark.parametrize("kind", [UsageError, DivergenceError])
def test_what_a_process_ends_with_is_what_the_launcher_raises(kind: type[UsageError]) -> None:
    with pytest.raises(UsageError, match=r"^the loss is nan$") as raised:
        in_processes(2, fail, "the loss is nan", kind)
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        # NCCL aborts who waits, and the launcher ends or kills the one that hangs.
        ((-signal.SIGABRT, -signal.SIGTERM), "rank 0 .* aborted, .* rank 1 does not answer within"),
        ((-signal.SIGABRT, -signal.SIGKILL), r"rank 1 \(.* was ended by SIGKILL"),
        ((-signal.SIGTERM, -signal.SIGABRT), "rank 1 .* aborted, .* rank 0 does not answer within"),
        ((-signal.SIGABRT, 1), "rank 1 .* ended with exit code 1"),
        ((-signal.SIGABRT, -signal.SIGABRT), "rank 0 .* was ended by SIGABRT"),
    ],
)
def test_who_waited_in_vain_is_not_blamed(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...], told: str
) -> None:
    failures = {rank: ProcessFailure(rank, 17, code, "none") for rank, code in enumerate(codes)}

    def failing(*arguments: Any) -> Any:
        def launched(*arguments: Any) -> None:
            raise ChildFailedError("train", failures)

        return launched

    monkeypatch.setattr(launch, "elastic_launch", failing)
    with pytest.raises(UsageError, match=told):
        in_processes(2, fail, columns=2)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_process_that_still_imports_ends_with_who_launched_it(tmp_path: Path) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert launcher.stdout is not None
    process = Path("/proc", launcher.stdout.readline().strip())
    while "libtorch" not in (process / "maps").read_text():
        time.sleep(0.05)
    launcher.kill()
    launcher.communicate()
    deadline = time.monotonic() + 10
    while runs(process):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(process: Path) -> bool:
    """Whether a process is there that has not ended."""
    try:
        return (process / "cmdline").read_bytes() != b""
    except OSError:
        return False
