"""``trainer=two_cpu``: two processes are one command, with one checkpoint for any arrangement."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Train = Callable[..., subprocess.CompletedProcess[str]]
TWO = ("trainer=two_cpu", "strategy.micro_batches=2")
# Steps so small that rounding does not grow; masks of dropout differ between arrangements.
STEADY = ("optimizer.lr=1e-9", "model.dropout=0", "schedule.epochs=1")


def record(directory: Path, run: str) -> dict[str, Any]:
    (path,) = (directory / "runs" / run).glob("*/result.json")
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def checkpoint(directory: Path, run: str) -> Path:
    (path,) = (directory / "runs" / run).glob("*/checkpoints/last.ckpt")
    return path


def shapes(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape), value.dtype
    if isinstance(value, dict):
        return {key: shapes(item) for key, item in value.items()}
    return None


@pytest.fixture
def both(train_tiny: Train, tmp_path: Path) -> Path:
    """A run of one process (``one``) and one of two (``two``), of one epoch each."""
    for name, arguments in (("one", ()), ("two", TWO)):
        done = train_tiny(*arguments, *STEADY, f"run_name={name}", OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
        # Each line once, though there are two processes.
        assert done.stdout.count("24 training images") == 1
        assert done.stdout.count("epoch 1/1") == 1
    return tmp_path


def test_two_processes_measure_and_save_what_one_does(both: Path, train_tiny: Train) -> None:
    one, two = record(both, "one"), record(both, "two")
    # Nine images in batches of eight: the last batch is uneven, and no image is counted twice.
    for crops in ("centre", "ten"):
        for top in ("top1", "top5"):
            assert two["errors"][crops][top] == one["errors"][crops][top]
        loss = "negative_log_likelihood"
        assert two["errors"][crops][loss] == pytest.approx(one["errors"][crops][loss], rel=1e-5)
    for mine, other in zip(one["curve"], two["curve"], strict=True):
        for key in ("train/top1_error", "val/top1_error", "val/top5_error", "step"):
            assert other[key] == mine[key]

    whole, gathered = (
        torch.load(checkpoint(both, run), weights_only=True) for run in ("one", "two")
    )
    for part in ("state_dict", "optimizer_states"):
        mine, theirs = (c[part][0] if part == "optimizer_states" else c[part]
                        for c in (whole, gathered))  # fmt: skip
        assert shapes(mine) == shapes(theirs)

    # Each goes on from the checkpoint of the other.
    arrangements: list[tuple[str, tuple[str, ...]]] = [("two", ()), ("one", TWO)]
    for start, arguments in arrangements:
        done = train_tiny(
            *arguments, *STEADY, "schedule.epochs=2", f"run_name={start}",
            f"resume={checkpoint(both, start)}", OMP_NUM_THREADS="1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "epoch 2/2" in done.stdout
        assert "epoch 1/2" not in done.stdout
    one, two = record(both, "one"), record(both, "two")
    assert one["curve"][1]["val/loss"] == pytest.approx(two["curve"][1]["val/loss"], rel=1e-5)


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [found for child in map(int, text.split()) for found in (child, *_children(child))]


def _ranks(pid: int) -> dict[str, int]:
    """The processes below ``pid`` that are columns, by their rank."""
    ranks = {}
    for child in _children(pid):
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks |= {e[5:].decode(): child for e in environment if e.startswith(b"RANK=")}
    return ranks


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_a_killed_process_ends_the_command_and_its_run_goes_on(
    tiny: list[str], train_tiny: Train, tmp_path: Path, cache: Path
) -> None:
    arguments = [*tiny, *TWO, "optimizer.lr=1e-9", "schedule.epochs=400", "run_name=killed"]
    command = [sys.executable, "-m", "alexnet_repro.train", *arguments]
    environment = os.environ | {"ALEXNET_REPRO_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        curve = "runs/killed/*/curve.csv"
        while not any(len(p.read_text().splitlines()) > 3 for p in tmp_path.glob(curve)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        columns = _ranks(process.pid)
        os.kill(columns["1"], signal.SIGKILL)
        told = "".join(process.communicate(timeout=60))
    assert process.returncode not in (0, None)
    assert "rank 1" in told
    assert "resume=" in told
    assert not any(Path(f"/proc/{pid}").exists() for pid in columns.values())

    saved = torch.load(checkpoint(tmp_path, "killed"), weights_only=True)["epoch"]
    epochs = saved + 2
    done = train_tiny(
        *TWO, "optimizer.lr=1e-9", f"schedule.epochs={epochs}", "run_name=killed", "resume=last",
        OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert record(tmp_path, "killed")["epochs"] == epochs
