"""Contenders take turns, ratios are of rounds, and every program writes a record."""

import json
import os
import shlex
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from measuring import Timing, in_turn, seconds

PROGRAMS = Path(__file__).parents[2] / "benchmarks"
STEP = ["--batch-size", "2", "--width", "0.1"]
DATA = ["--stored-images", "30", "--batch-size", "2", "--longer-side", "90", "--rounds", "1"]
COLUMNS = ["--width", "0.05", "--batch-size", "4", "--rounds", "1", "--micro-batches", "1", "2"]


def benchmark(
    name: str, *arguments: str, directory: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAMS / f"{name}.py"), *arguments]
    given = os.environ | variables
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, env=given)


@pytest.mark.parametrize(
    ("name", "arguments", "beginnings"),
    [
        pytest.param(
            "step",
            [*STEP, "--rounds", "1", "--parts", "steps", "roof", "norm", "crops"],
            ["A training step", "Convolutions", *2 * ["Normalizing"], *2 * ["Evaluating"]],
            marks=pytest.mark.long,
        ),
        pytest.param(
            "step",
            [*STEP, "--rounds", "2", "--parts", "command", "--command-epochs", "1"],
            ["The whole command"],
            marks=pytest.mark.long,
        ),
        pytest.param(
            "data", DATA, ["Preparing 30", "Random 224", "Augmenting"], marks=pytest.mark.long
        ),
        pytest.param(
            "columns",
            [*COLUMNS, "--performance", "exact"],
            ["A training step", "Exchange"],
            marks=pytest.mark.long,
        ),
        pytest.param("overhead", ["--rounds", "1", "--steps", "3"], ["A step of a network of no"]),
        pytest.param(
            "startup",
            ["--rounds", "1", "--calls", "import hydra"],
            ["From the start"],
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_program_shows_its_tables_and_records_them(
    name: str, arguments: list[str], beginnings: list[str], cache: Path, tmp_path: Path
) -> None:
    done = benchmark(name, *arguments, directory=tmp_path, ALEXNET_REPRO_CACHE=str(cache))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "runs" / "benchmark" / f"{name}.json").read_text())
    assert record["benchmark"] == name
    assert record["command"] == shlex.join(["python", f"benchmarks/{name}.py", *arguments])
    assert {"date", "commit", "packages", "machine", "threads"} <= record.keys()
    assert record["settings"]["rounds"] == (2 if "command" in arguments else 1)
    titles = [table["title"] for table in record["tables"]]
    assert [t[: len(b)] for t, b in zip(titles, beginnings, strict=True)] == beginnings
    for table in record["tables"]:
        assert table["title"] in done.stdout.replace("\n", " ")
        for row in table["rows"]:
            assert row.get("milliseconds", 1) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
    if "steps" in arguments:
        steps = record["tables"][0]
        ms = {row["name"]: row["milliseconds"] for row in steps["rows"]}
        share = steps["facts"]["response normalization, percent of a fast step"]
        assert share == pytest.approx(100 * (1 - ms["fast, no norm"] / ms["fast"]), abs=0.1)
    if name == "columns":
        for row in record["tables"][1]["rows"]:
            assert 0 <= row["hidden_ms"] <= row["exchange_ms"]
            # Nothing is there to compute while the only part of a batch crosses.
            assert row["micro_batches"] > 1 or row["hidden_share"] < 0.05


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("data", ["--images", "nowhere"], "error: --images nowhere: there are no images nowhere/"),
        ("columns", ["--micro-batches", "3"], "error: --batch-size 128 cannot be divided by 3"),
        ("startup", ["--rounds", "0"], "error: argument --rounds: 0 is less than 1"),
    ],
)
def test_a_mistake_ends_with_a_line_and_without_a_record(
    name: str, arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = benchmark(name, *arguments, directory=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_parts_of_a_device_check_find_something_and_fail_alone(
    cache: Path, tmp_path: Path
) -> None:
    # There is no place for what the first one finds.
    (tmp_path / "found" / "waits.json").mkdir(parents=True)
    small = ["--toy", "--output", "found", "--parts", "waits", "equal", "exact"]
    known = {"ALEXNET_REPRO_CACHE": str(cache)}
    done = benchmark("device_check", *small, directory=tmp_path, **known)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "waits: FAILED" in done.stdout
    assert "waits_in_a_step=0" in (tmp_path / "found" / "waits.log").read_text()
    for name in ("equal", "exact"):
        record = json.loads((tmp_path / "found" / f"{name}.json").read_text())
        assert record["part"] == name
        assert record["rows"]
        if name == "equal":
            errors = {row["performance"]: row["logits"] for row in record["rows"]}
            assert errors["exact"] < 1e-5 < errors["fast"] < 0.05
    assert "exact: done" in done.stdout


def test_contenders_take_turns() -> None:
    calls: list[str] = []

    def measure(name: str) -> float:
        calls.append(name)
        return 0.5

    timings = in_turn({name: partial(measure, name) for name in "ab"}, rounds=3, items=4)
    assert calls == ["a", "b"] * 3
    assert timings[1] == Timing("b", [0.5] * 3, items=4)


def test_seconds_are_those_of_the_call() -> None:
    assert 0.02 <= seconds(lambda: time.sleep(0.02)) < 0.2


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    # In the third round the machine was ten times as slow for both.
    fast = Timing("fast", [1.0, 1.1, 10.0], 10)
    slow = Timing("slow", [2.0, 2.2, 20.0], 10)
    assert fast.times_as_fast_as(slow) == pytest.approx(2)
    assert slow.row(fast)["ratio"] == pytest.approx(0.5)
    assert fast.row() == {
        "name": "fast",
        "milliseconds": 1100,
        "fastest": 1000,
        "slowest": 10000,
        "per_second": 9.1,
    }


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_work_that_a_call_leaves_to_a_gpu_is_counted() -> None:
    matrix = torch.randn(4096, 4096, device="cuda")

    def multiply() -> None:
        for _ in range(50):
            torch.mm(matrix, matrix)

    assert seconds(multiply) > 50 * 2 * 4096**3 / 1e15  # no GPU does 10^15 operations in 32 bit
