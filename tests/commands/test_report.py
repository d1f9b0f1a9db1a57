"""``python -m alexnet_repro.report``: what it writes of a run, how it fails."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_run_is_reported_and_the_wandb_report_is_a_file_offline(
    command: Command, tiny_run: Path, tmp_path: Path
) -> None:
    asked = (tiny_run, "--output=here/report", "--wandb")
    done = command("report", *asked, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "21 claims: 3 no verdict, 18 not measured" in done.stdout
    assert "written to here/report/index.html" in done.stdout
    assert "since WANDB_MODE=offline; its specification is in here/report" in done.stdout
    page = (tmp_path / "here" / "report" / "index.html").read_text()
    assert "result.json" in page
    assert "model.width=0.1" in page
    assert {path.name for path in (tmp_path / "here" / "report").iterdir()} == {
        "index.html", "README.md", "short.md", "wandb_report.json",
        "unmeasured.csv", "left_out.csv", "ladder.csv",
        "claims.csv", "table1.csv", "table2.csv", "ablations.csv", "settings.csv", "records.csv",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none"], "path 'none' does not exist"),
        ([".", "--claim=lnr"], "claims: there is no claim lnr; did you mean lrn?"),
        ([".", "--wandb-projekt=a"], "No such option: --wandb-projekt"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    command: Command, tmp_path: Path, arguments: list[str], told: str
) -> None:
    done = command("report", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_failed_is_in_the_report_with_its_reason_until_it_ends(
    train_tiny: Command, command: Command, tmp_path: Path
) -> None:
    failed = train_tiny("optimizer.lr=1e30", "hydra.run.dir=runs/a")
    assert failed.returncode == 2
    command("report", "--output=report")
    left_out = (tmp_path / "report" / "left_out.csv").read_text()
    assert "a,the loss is " in left_out.replace('"', "")
    train_tiny("schedule.epochs=1", "hydra.run.dir=runs/a")
    command("report", "--output=report")
    assert (tmp_path / "report" / "left_out.csv").read_text() == "Run,Reason\n"
