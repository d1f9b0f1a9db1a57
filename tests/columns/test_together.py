"""Processes that start together decide once and notice what they do not have in common."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.forks import Fork, Forks

PROGRAM = Path(__file__).with_name("agreeing.py")

Started = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def started(forks: Forks, tmp_path: Path) -> Started:
    """What each process says, which srun started with its decision and what it is about to do."""

    def start(*arguments: tuple[str, str]) -> list[dict[str, Any]]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = {"MASTER_PORT": str(free.getsockname()[1])}
        return told(step(forks, tmp_path, *arguments, **port))

    return start


def step(forks: Forks, folder: Path, *arguments: tuple[str, str], **variables: str) -> list[Fork]:
    """The processes that srun starts."""
    tasks = str(len(arguments))
    job = {
        "SLURM_NTASKS": tasks,
        "SLURM_NTASKS_PER_NODE": tasks,
        "SLURM_NNODES": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": tasks,
        "SLURM_JOB_NAME": "alexnet",
        "SLURM_NODELIST": "127.0.0.1",
    } | variables
    return [
        forks.start(PROGRAM, rank, *own, cwd=folder, env=job | {"SLURM_PROCID": str(rank)})
        for rank, own in enumerate(arguments)
    ]


def told(tasks: list[Fork]) -> list[dict[str, Any]]:
    assert [task.wait(60) for task in tasks] == [0] * len(tasks)
    return [json.loads(task.stdout) for task in tasks]


def test_the_first_process_decides_for_all(started: Started) -> None:
    assert started(("ours", "1"), ("theirs", "1"), ("another", "1")) == [{"decided": "ours"}] * 3


@pytest.mark.parametrize(
    ("processes", "told"),
    [
        ([("ours", "1"), ("ours", "1"), ("ours", "2")], "rank 2: its seed is 2, that of rank 0 1"),
        ([("ours", "1"), ("ours", "none")], "rank 1: its seed is absent, that of rank 0 1"),
        ([("ours", "none"), ("ours", "1")], "rank 1: its seed is 1, that of rank 0 absent"),
        ([("ours", "1"), ("ours", "refuse")], "rank 1: refused by 1"),
        ([("ours", "1"), ("refuse", "1")], "rank 1: refused by 1"),
    ],
)
def test_a_disagreement_ends_all_and_names_the_rank(
    started: Started, processes: list[tuple[str, str]], told: str
) -> None:
    first, *others = started(*processes)
    assert first == {"refused": told}
    assert all("refused" in other for other in others)


def test_two_steps_of_a_job_at_once_do_not_meet(forks: Forks, tmp_path: Path) -> None:
    job = {"SLURM_JOB_ID": str(os.getpid())}
    first = step(forks, tmp_path, ("one", "1"), ("-", "1"), **job, SLURM_STEP_ID="0")
    second = step(forks, tmp_path, ("two", "2"), ("-", "2"), **job, SLURM_STEP_ID="1")
    assert told(first) == [{"decided": "one"}] * 2
    assert told(second) == [{"decided": "two"}] * 2


@pytest.mark.parametrize("first", [("refuse", "1"), ("ours", "refuse")])
def test_what_the_first_process_refuses_ends_all(started: Started, first: tuple[str, str]) -> None:
    assert started(first, ("ours", "1")) == [{"refused": "refused by 0"}] * 2
