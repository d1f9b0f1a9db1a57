"""``python -m alexnet_repro.benchmark``: a table on the terminal and a record."""

import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def benchmark(command: Command) -> Command:
    return functools.partial(command, "benchmark")


@pytest.mark.long
def test_data_is_measured_and_recorded(
    benchmark: Command, tmp_path: Path, tiny_images: Path
) -> None:
    settings = {
        "longer_side": 90,
        "stored_images": 40,
        "batch_size": 2,
        "rounds": 1,
        "slow_rounds": 1,
    }
    overrides = [f"benchmark.{key}={value}" for key, value in settings.items()]
    done = benchmark("benchmark=data", f"benchmark.images={tiny_images}", *overrides)
    assert done.returncode == 0, done.stderr
    assert "raw store" in done.stdout
    record = json.loads((tmp_path / "runs" / "benchmark" / "data.json").read_text())
    assert record["benchmark"] == "data"
    assert record["command"].startswith("python -m alexnet_repro.benchmark benchmark=data")
    assert record["settings"] == {"images": str(tiny_images), **settings}
    preparing, reading, augmenting = record["tables"]
    assert [row["name"] for row in reading["rows"]] == [
        "raw store",
        "JPEG store",
        "ImageFolder, RandomResizedCrop",
        "ImageFolder, Resize 256, RandomCrop",
    ]
    assert preparing["facts"]["median size of the images, pixels"] == "90×60"
    assert any("percent of a training step" in fact for fact in augmenting["facts"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_response_normalization_is_measured(benchmark: Command, tmp_path: Path) -> None:
    done = benchmark("benchmark=response_norm", "benchmark.batch_size=1", "benchmark.rounds=1")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "runs" / "benchmark" / "response_norm.json").read_text())
    assert [table["title"].split(":")[0] for table in record["tables"]] == [
        "Normalizing conv1",
        "Normalizing conv2",
    ]
    for table in record["tables"]:
        assert [row["name"].split(",")[0] for row in table["rows"]] == ["torch"] * 2 + ["ours"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benchmark=data", "benchmark.rounds=0"], "rounds=0: input should be greater than or"),
        (["benchmark=data", "benchmark.images=nowhere"], "there is no folder nowhere/train"),
        (["benchmark=columns", "benchmark.micro_batches=[3]"], "batch_size=128 cannot be divided"),
    ],
)
def test_a_mistake_is_one_line(benchmark: Command, arguments: list[str], message: str) -> None:
    done = benchmark(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_columns_are_measured_beside_other_ways_to_use_two_cores(
    benchmark: Command, tmp_path: Path
) -> None:
    settings = {"width": 0.05, "batch_size": 4, "rounds": 1}
    overrides = [f"benchmark.{key}={value}" for key, value in settings.items()]
    lists = ["benchmark.micro_batches=[1,2]", "benchmark.performance=[exact]"]
    done = benchmark("benchmark=columns", *overrides, *lists)
    assert done.returncode == 0, done.stderr
    assert "data parallelism" in done.stdout
    record = json.loads((tmp_path / "runs" / "benchmark" / "columns.json").read_text())
    steps, exchange = record["tables"]
    names = [row["name"] for row in steps["rows"]]
    assert names[:3] == [
        "columns, micro-batches=1",
        "columns, micro-batches=2",
        "data parallelism (DDP)",
    ]
    assert any(name.startswith("one-GPU net") for name in names)
    assert [(row["micro_batches"], row["direction"]) for row in exchange["rows"]] == [
        (1, "forward"), (1, "backward"), (2, "forward"), (2, "backward"),
    ]  # fmt: skip
    for row in exchange["rows"]:
        assert row["exchange_ms"] > 0
        assert 0 <= row["hidden_ms"] <= row["exchange_ms"]
        # Nothing is there to compute while the only part of a batch crosses.
        assert row["micro_batches"] > 1 or row["hidden_share"] < 0.05
