"""Processes that start together decide once and notice what they do not have in common."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.forks import Forks

PROGRAM = Path(__file__).with_name("agreeing.py")

Started = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def started(forks: Forks, tmp_path: Path) -> Started:
    """What each process says, which srun started with its decision and what it is about to do."""

    def start(*arguments: tuple[str, str]) -> list[dict[str, Any]]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            job = {"MASTER_PORT": str(free.getsockname()[1])}
        job |= {"SLURM_NTASKS": str(len(arguments)), "SLURM_NTASKS_PER_NODE": str(len(arguments))}
        job |= {
            "SLURM_NNODES": "1",
            "SLURM_STEP_ID": "0",
            "SLURM_JOB_NAME": "alexnet",
            "SLURM_NODELIST": "127.0.0.1",
        }
        tasks = [
            forks.start(PROGRAM, rank, *own, cwd=tmp_path, env=job | {"SLURM_PROCID": str(rank)})
            for rank, own in enumerate(arguments)
        ]
        assert [task.wait(60) for task in tasks] == [0] * len(tasks)
        return [json.loads(task.stdout) for task in tasks]

    return start


def test_the_first_process_decides_for_all(started: Started) -> None:
    assert started(("ours", "1"), ("theirs", "1"), ("another", "1")) == [{"decided": "ours"}] * 3


@pytest.mark.parametrize(
    ("processes", "told"),
    [
        ([("ours", "1"), ("ours", "1"), ("ours", "2")], "rank 2: its seed is 2, that of rank 0 1"),
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


@pytest.mark.parametrize("first", [("refuse", "1"), ("ours", "refuse")])
def test_what_the_first_process_refuses_ends_all(started: Started, first: tuple[str, str]) -> None:
    assert started(first, ("ours", "1")) == [{"refused": "refused by 0"}] * 2
