"""The W&B report has its panels and tables, as an object and as the file without a key."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb_workspaces.reports.v2 as blocks

from alexnet_repro.base.errors import UsageError
from alexnet_repro.results import wandb_report
from alexnet_repro.results.tables import Table
from alexnet_repro.results.wandb_report import compose_report, write_wandb_report

TABLES = [
    Table("ablations", "Experiments", ("Experiment", "Top-1"), (("ablation_tanh", "45.0"),)),
    Table("claims", "Claims", ("Claim", "Verdict"), (("ReLU", "agrees"),)),
]


def keys(values: Any) -> set[str]:
    """Every string and key of nested values."""
    if isinstance(values, dict):
        return set(values).union(*map(keys, values.values()))
    if isinstance(values, list):
        return set().union(*map(keys, values))
    return {values} if isinstance(values, str) else set()


def test_it_compares_curves_and_bars_by_experiment_and_shows_the_tables() -> None:
    report = compose_report("project", "someone", TABLES)
    _, grid, ablations, claims = report.blocks
    assert isinstance(grid, blocks.PanelGrid)
    (runs,) = grid.runsets
    assert (runs.entity, runs.project) == ("", ""), "the project of the report"
    assert (report.entity, report.project) == ("someone", "project")
    assert runs.groupby == ["config.run_name.value"]
    lines = [panel for panel in grid.panels if isinstance(panel, blocks.LinePlot)]
    assert [panel.y for panel in lines] == [["val/top1_error"], ["val/top5_error"]]
    bars = [panel for panel in grid.panels if isinstance(panel, blocks.BarPlot)]
    assert [panel.metrics for panel in bars] == [["ten_crop/top1_error"], ["ten_crop/top5_error"]]
    assert r"| ablation\_tanh | 45.0 |" in ablations.text
    assert "| ReLU | agrees |" in claims.text


def test_without_a_key_the_specification_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb_report, "why_offline", lambda: "there is no API key (wandb login)")
    with caplog.at_level(logging.INFO):
        write_wandb_report("project", None, TABLES, tmp_path)
    (line,) = caplog.messages
    assert "since there is no API key (wandb login); its specification is in" in line
    written = json.loads((tmp_path / "wandb_report.json").read_text())
    assert written["project"] == {"entity": "ENTITY", "name": "project"}
    metrics = {f"{m}/top{k}_error" for m in ("val", "ten_crop") for k in (1, 5)}
    assert metrics <= keys(written["spec"])
    kinds = [block["type"] for block in written["spec"]["blocks"]]
    assert kinds.count("panel-grid") == 1
    assert kinds.count("markdown-block") == 2


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UsageError, match=r"pip install 'alexnet-repro\[reports\]'"):
        write_wandb_report("project", None, TABLES, tmp_path)
