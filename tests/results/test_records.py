"""Records in folders with other files among them, and what a training was told."""

import copy
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alexnet_repro.base.errors import UsageError
from alexnet_repro.results.claims import Archive, read_claims
from alexnet_repro.results.conditions import Experiments
from alexnet_repro.results.records import Record, arguments, newest_by_seed, read_records
from alexnet_repro.results.report import write_report
from alexnet_repro.results.tables import Legend, ablation_table, claims_table, trained_groups

from .pages import trained, written


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
        found, left_out = read_records(tmp_path)
    assert [(r.name, r.kind) for r in found] == [
        ("a/result.json", "result"),
        ("kernels.json", "kernels"),
    ]
    assert list(left_out) == ["torn.json"]
    (line,) = caplog.messages
    assert "torn.json is left out: it cannot be read as JSON" in line


ODD: list[Any] = [None, True, -1, 1e999, 10**30, "", "'", [], [[]], {}, {"a": [0]}, [{"epoch": {}}]]


def mutations(values: Any) -> Iterator[Callable[[Any], Any]]:
    """What replaces one value of a record, at any depth, by an odd one, or leaves it out."""
    for key in [*values] if isinstance(values, dict) else range(min(len(values), 2)):
        for odd in ODD:
            yield lambda whole, key=key, odd=odd: whole.__setitem__(key, odd)
        if isinstance(values, dict):
            yield lambda whole, key=key: whole.pop(key)
        if isinstance(values[key], dict | list):
            for deeper in mutations(values[key]):
                yield lambda whole, key=key, deeper=deeper: deeper(whole[key])


def oddities(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for change in mutations(whole):
        odd = copy.deepcopy(whole)
        change(odd)
        yield odd


def test_a_record_with_one_odd_value_ends_no_report(
    config_of: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    whole = trained(config_of("ablation_no_lrn"), 40.0)
    apart = {key: value for key, value in whole.items() if key != "config"}
    odd = [values | {"config": whole["config"]} for values in oddities(apart)]
    runs = written(tmp_path / "runs", *odd)
    (runs / "run0" / "evaluation.json").write_text("[" * 200_000)
    write_report(runs, tmp_path / "report")
    records, left_out = read_records(runs)
    assert len(records) + len(left_out) == len(odd) + 1 > 300
    assert len(left_out) > 100
    assert all("\n" not in why and len(why) < 200 for why in left_out.values())


def test_a_configuration_with_one_odd_value_ends_no_report(
    config_of: Callable[[str], dict[str, Any]], experiments: Experiments, tmp_path: Path
) -> None:
    whole = trained(config_of("ablation_no_lrn"), 40.0)
    odd = [whole | {"config": config} for config in oddities(whole["config"])]
    records, left_out = read_records(written(tmp_path, *odd))
    archive = Archive(records, experiments)
    legend = Legend(run.group for run in archive.runs)
    findings = [archive.find(claim) for claim in read_claims().values()]
    assert claims_table(findings, legend).rows
    assert ablation_table(trained_groups(archive), experiments, legend).rows
    assert len(records) + len(left_out) == len(odd) > 1000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"command": 7}, "command: input should be a valid string"),
        ({"command": "python 'a"}, "command: no closing quotation"),
        ({"curve": [1]}, "curve.0: input should be a valid dictionary"),
        ({"errors": {"ten": {"top1": "37.5", "top5": 1}}}, "errors.ten.top1: input should be a"),
        ({"config": {"model": "alexnet"}}, "config.model: input should be a valid dictionary"),
    ],
)
def test_an_odd_record_is_left_out_by_name(
    config_of: Callable[[str], dict[str, Any]], tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    record = trained(config_of("alexnet"), 40.0) | change
    (tmp_path / "result.json").write_text(json.dumps(record))
    records, left_out = read_records(tmp_path)
    assert records == []
    assert list(left_out) == ["result.json"]
    assert left_out["result.json"].startswith(reason)


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
