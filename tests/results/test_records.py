"""Records in folders with other files among them, and what a training was told."""

import json
import logging
from pathlib import Path

import pytest

from alexnet_repro.base.errors import UsageError
from alexnet_repro.results.records import Record, arguments, newest_by_seed, read_records


def test_what_is_no_record_is_passed_over_and_what_is_damaged_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = {"format": 1, "command": "python", "date": "2026-01-01", "network": {"seed": 1}}
    benchmark = record | {"network": None, "benchmark": "step"}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "result.json").write_text(json.dumps(record))
    (tmp_path / "a" / "run.json").write_text(json.dumps([record]))
    (tmp_path / "kernels.json").write_text(json.dumps(record))
    (tmp_path / "step.json").write_text(json.dumps(benchmark))
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
    with pytest.raises(UsageError, match=r".*none: there is no such folder"):
        read_records(tmp_path / "none")


def test_what_a_training_was_told_stands_in_its_command() -> None:
    command = (
        "python -m alexnet_repro.train 'experiment=[small,ablation_tanh]' ++seed=1 '~callbacks'"
    )
    assert arguments({"command": command}) == {"experiment": "[small,ablation_tanh]", "seed": "1"}
    assert arguments({"experiment": "small+alexnet"}) == {"experiment": "small+alexnet"}


def test_of_several_records_of_a_seed_the_newest_counts() -> None:
    records = [
        Record(str(number), "result", {"seed": seed, "date": date})
        for number, (seed, date) in enumerate([(2, "2026-01-02"), (2, "2026-01-01"), (1, "2025")])
    ]
    assert {seed: one.name for seed, one in newest_by_seed(records).items()} == {1: "2", 2: "0"}
