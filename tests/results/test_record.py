"""Records: intervals, chance levels, provenance, and files that are whole or not there."""

import json
import math
import os
import subprocess
from pathlib import Path

import pytest
import torch

from alexnet_repro.base import record
from alexnet_repro.base.config import opened, with_list
from alexnet_repro.base.files import write_json, write_text
from alexnet_repro.base.record import as_typed, chance_error, error_interval, provenance


# Wilson's interval as tabulated: 0, 1, 5 of 10; 50 of 100 (in percent).
@pytest.mark.parametrize(
    ("wrong", "images", "low", "high"),
    [(0, 10, 0.0, 27.75), (1, 10, 1.79, 40.42), (5, 10, 23.66, 76.34), (50, 100, 40.38, 59.62)],
)
def test_the_interval_is_wilsons(wrong: int, images: int, low: float, high: float) -> None:
    found = error_interval(100 * wrong / images, images)
    assert found == pytest.approx((low, high), abs=0.005)


@pytest.mark.parametrize("error", [0.0, 12.5, 100.0])
def test_the_bounds_are_where_the_normal_test_rejects(error: float) -> None:
    images = 400
    for bound in error_interval(error, images):
        p = bound / 100
        if 0 < p < 1:
            z = abs(error / 100 - p) / math.sqrt(p * (1 - p) / images)
            assert z == pytest.approx(1.96, abs=1e-3)


def test_chance_errors() -> None:
    assert chance_error(1000) == pytest.approx({"top1": 99.9, "top5": 99.5})
    assert chance_error(10) == pytest.approx({"top1": 90, "top5": 50})
    assert chance_error(3) == pytest.approx({"top1": 100 * 2 / 3, "top5": 0})


def test_provenance_names_commit_packages_and_machine() -> None:
    found = provenance("alexnet_repro.train", ["seed=1", "experiment=[demo,six_conv]"])
    assert found["command"] == "python -m alexnet_repro.train seed=1 'experiment=[demo,six_conv]'"
    assert found["packages"]["torch"] == torch.__version__.split("+")[0]
    assert found["machine"]["cores"] == os.cpu_count()
    assert found["machine"]["threads"] == torch.get_num_threads()
    checkout = Path(record.__file__).parents[3]
    if (checkout / ".git").exists():
        head = subprocess.run(
            ["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        assert found["commit"].removesuffix("+changes") == head


@pytest.mark.parametrize(
    "typed",
    [
        "seed=1",
        "data.batch_size=8",
        "data.source.root=my photos",
        "data.name=it's",
        "data.source.root=C:\\photos\\",
        r"data.name=\'",
        "experiment=[demo,six_conv]",
        "checkpoint=a.ckpt",
        "checkpoint=a.ckpt,epoch=1 b.ckpt",
        "resume=last",
        "data.name='a,b'",
    ],
)
def test_a_record_names_its_command_as_it_was_typed(typed: str) -> None:
    composed = opened(with_list(typed, ["checkpoint"]))
    assert as_typed(composed) == typed


def test_a_failed_write_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"error": 1})

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(record.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_text(path, "half of it")
    assert json.loads(path.read_text()) == {"error": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_the_loss_of_a_diverged_run_is_null(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"curve": [{"loss": math.nan, "error": 90.0}]})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "result.json").read_text()
    found = json.loads(text, parse_constant=refuse)
    assert found == {"curve": [{"loss": None, "error": 90.0}]}
