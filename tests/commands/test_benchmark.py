"""``python -m alexnet_repro.benchmark``: a table on the terminal and a record."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def benchmark(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "alexnet_repro.benchmark", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)


def test_data_is_measured_and_recorded(tmp_path: Path, tiny_images: Path) -> None:
    settings = {
        "longer_side": 90,
        "stored_images": 40,
        "batch_size": 2,
        "rounds": 1,
        "slow_rounds": 1,
    }
    overrides = [f"benchmark.{key}={value}" for key, value in settings.items()]
    done = benchmark(tmp_path, "benchmark=data", f"benchmark.images={tiny_images}", *overrides)
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benchmark=data", "benchmark.rounds=0"], "rounds=0: input should be greater than or"),
        (["benchmark=data", "benchmark.images=nowhere"], "there is no folder nowhere/train"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = benchmark(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
