"""Quantities of records by path, and folders of records with other files among them."""

import json
import logging
from pathlib import Path

import pytest

from alexnet_repro.errors import UsageError
from alexnet_repro.results.records import Record, quantity, read_records

VALUES = {
    "errors": {"centre": {"top1": 39.0}, "ten": {"top1": 37.5, "top1_interval": [37.1, 37.9]}},
    "epochs": 4,
    "train_seconds": 100,
    "curve": [
        {"epoch": 1, "train/top1_error": 60.0, "val/top1_error": 50.0},
        {"epoch": 2, "train/top1_error": 25.0, "val/top1_error": 30.0},
        {"epoch": 3, "train/top1_error": None, "val/top1_error": 29.0},
        {"epoch": 4, "train/top1_error": 10.0, "val/top1_error": 31.0, "seconds": 80.5},
    ],
    "ways": [
        {"name": "fc7", "bits": None, "map": 40.0},
        {"name": "autoencoder", "bits": 128, "map": 30.0},
        {"name": "autoencoder", "bits": 128, "map": 34.0},
        {"name": "autoencoder", "bits": 32, "map": 10.0},
    ],
    "failed": False,
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("errors.ten.top1", 37.5),
        ("errors.ten.top1 - errors.centre.top1", -1.5),
        ("train_seconds / epochs", 25.0),
        ("curve[-1].train/top1_error", 10.0),
        ("curve[0].train/top1_error", 60.0),
        ("errors.centre.top1 - curve[-1].train/top1_error", 29.0),
        ("ways[name=fc7].map", 40.0),
        ("ways[name=autoencoder,bits=128].map", 32.0),
        ("ways[name=fc7].map - ways[name=autoencoder,bits=128].map", 8.0),
        ("first_epoch(train/top1_error <= 25)", 2.0),
        ("first_epoch(train/top1_error <= 5)", None),
        ("first_seconds(train/top1_error <= 10)", 80.5),
        ("epoch_of_lowest(val/top1_error)", 3.0),
        ("errors.five.top1", None),
        ("errors.ten.top1 - errors.five.top1", None),
        ("errors.ten", None),
        ("curve[9].epoch", None),
        ("failed", None),
    ],
)
def test_a_quantity_is_what_its_path_says(expression: str, expected: float | None) -> None:
    assert quantity(VALUES, expression) == expected


def test_what_is_no_record_is_passed_over_and_what_is_damaged_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = {"format": 1, "command": "python", "date": "2026-01-01"}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "result.json").write_text(json.dumps(record))
    (tmp_path / "a" / "run.json").write_text(json.dumps([record]))
    (tmp_path / "kernels.json").write_text(json.dumps(record))
    (tmp_path / "torn.json").write_text('{"format": 1, "comm')
    with caplog.at_level(logging.WARNING):
        found = read_records(tmp_path)
    assert [(r.name, r.kind) for r in found] == [
        ("a/result.json", "result"),
        ("kernels.json", "kernels"),
    ]
    (line,) = caplog.messages
    assert "torn.json is left out: it cannot be read as JSON" in line


def test_the_seed_of_a_record_is_that_of_the_training() -> None:
    permuted = Record("kernels.json", "kernels", {"seed": 0, "network": {"seed": 2}})
    trained = Record("result.json", "result", {"seed": 3})
    assert (permuted.seed, trained.seed) == (2, 3)


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"runs=.*none: there is no such folder"):
        read_records(tmp_path / "none")
