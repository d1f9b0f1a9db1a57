"""Sweeps: started again, in processes of their own, on a cluster, and as a search."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

Command = Callable[..., subprocess.CompletedProcess[str]]

SHORT = ("schedule.epochs=1", "data.num_workers=0", "hydra.sweep.dir=sweep")


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "sweep" / "sweep.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.long
def test_a_sweep_started_again_trains_only_what_is_not_finished(
    train: Command, tiny: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("submitit")
    # Each job is a process of its own, started by what starts the jobs on a cluster.
    done = train("-m", *tiny, *SHORT, "seed=1,2", "hydra/launcher=submitit_local")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows(tmp_path)] == ["completed", "completed"]
    assert "seed=2     completed" in done.stdout
    first, second = (tmp_path / "sweep" / f"{job}_alexnet_seed{job + 1}" for job in (0, 1))
    before = (first / "result.json").stat().st_mtime_ns
    errors = rows(tmp_path)
    # Interrupted after its last epoch, before it was tested.
    (second / "result.json").unlink()

    done = train("-m", *tiny, *SHORT, "seed=1,2", "skip_finished=true", "logger=csv")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows(tmp_path)] == ["skipped", "completed"]
    assert (first / "result.json").stat().st_mtime_ns == before
    assert f"skipped: already trained, see {first / 'result.json'}" in done.stdout
    result = json.loads((second / "result.json").read_text())
    assert len(result["resumed_from"]) == 1
    assert len(result["curve"]) == 1
    figures = ("top1", "top5", "ten_crop_top1", "ten_crop_top5")
    assert [[row[f] for f in figures] for row in rows(tmp_path)] == [
        [row[f] for f in figures] for row in errors
    ]


def test_jobs_that_share_a_folder_have_a_row_each(
    train: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = train("-m", *tiny, *SHORT, "seed=1,2", "hydra.sweep.subdir=one")
    assert done.returncode == 2
    assert "1 of 2 jobs failed" in done.stdout
    first, second = rows(tmp_path)
    assert (first["status"], second["status"]) == ("completed", "failed")
    assert "already contains a run" in second["error"]
    row = json.loads((tmp_path / "sweep" / "one" / "job.json").read_text())
    assert row["status"] == "completed"


def test_folders_of_jobs_may_be_nested(train: Command, tiny: list[str], tmp_path: Path) -> None:
    nested = "hydra.sweep.subdir='seed${seed}/run_${hydra.job.num}'"
    for _ in range(2):  # what was there before has no rows of its own
        done = train("-m", *tiny, *SHORT, "seed=1,2", nested, "skip_finished=true")
        assert done.returncode == 0, done.stderr
        assert [row["job"] for row in rows(tmp_path)] == ["0", "1"]
    assert (tmp_path / "sweep" / "seed2" / "run_1" / "result.json").is_file()


def test_slurm_is_asked_for_what_the_configuration_says(train: Command, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, script in (("srun", "exit 1"), ("sbatch", "cat $1 > asked.sh; exit 1")):
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    slurm = {"partition": "a100", "gpus_per_node": 2, "timeout_min": 90, "array_parallelism": 2}
    arguments = [f"hydra.launcher.{key}={value}" for key, value in slurm.items()]
    path = f"{commands}:/usr/bin:/bin"
    done = train("-m", "launcher=slurm", "seed=1,2,3", *arguments, PATH=path)
    assert done.returncode != 0  # this sbatch takes no jobs
    lines = (tmp_path / "asked.sh").read_text().splitlines()
    for option in (
        "--partition=a100",
        "--gpus-per-node=2",
        "--time=90",
        "--array=0-2%2",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--cpus-per-task=8",
        "--job-name=alexnet_repro",
        "--open-mode=append",
    ):
        assert f"#SBATCH {option}" in lines
    # The signal at which submitit has SLURM queue the job again, 300 s before its time is up.
    assert any(line.startswith("#SBATCH --signal=") and line.endswith("@300") for line in lines)
    assert any(line.startswith("srun") and "submitit.core._submit" in line for line in lines)


@pytest.mark.long
def test_a_trial_of_a_search_may_have_two_processes(
    train: Command, tiny: list[str], tmp_path: Path
) -> None:
    search = ("-m", *tiny, *SHORT, "trainer=two_cpu", "sweep=learning_rate")
    done = train(*search, "hydra.sweeper.n_trials=1")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in rows(tmp_path)] == ["completed"]


def test_a_search_finds_the_learning_rate_goes_on_and_prunes(
    train: Command, tiny: list[str], tmp_path: Path
) -> None:
    optuna = pytest.importorskip("optuna")
    search = ("-m", *tiny, *SHORT, "sweep=learning_rate", "hydra.sweeper.startup_trials=1")
    done = train(*search, "hydra.sweeper.n_trials=2")
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("sweep/*/result.json")]
    errors = {run["config"]["optimizer"]["lr"]: run["curve"][0]["val/top1_error"] for run in runs}
    assert len(errors) == 2
    assert all(1e-4 <= lr <= 1e-1 for lr in errors)
    assert found["best_value"] == pytest.approx(min(errors.values()))
    assert errors[found["best_params"]["optimizer.lr"]] == found["best_value"]

    from alexnet_repro.training.pruning import open_study

    study = open_study(str(tmp_path / "sweep" / "trials.log"), "learning_rate")
    values = study.trials[0].distributions
    for _ in range(3):
        study.add_trial(
            optuna.trial.create_trial(
                value=0.0,
                params={"optimizer.lr": 0.01},
                distributions=values,
                intermediate_values={1: 0.0},
            )
        )
    interrupted = study.ask(values)
    study.enqueue_trial({"optimizer.lr": 1e30})  # diverges
    more = ("optimizer.lr=tag(log,interval(1e-4,1e30))", "hydra.sweeper.n_trials=7")
    done = train(*search, *more, "hydra.sweeper.warmup_epochs=1", "schedule.epochs=2")
    assert done.returncode == 0, done.stderr
    told = [(row["job"], row["status"]) for row in rows(tmp_path)]
    assert told == [("0", "completed"), ("1", "completed"), ("5", "pruned"), ("6", "failed")]
    assert f"optimizer.lr={interrupted.params['optimizer.lr']}" in rows(tmp_path)[2]["overrides"]
    assert "the loss is nan" in rows(tmp_path)[3]["error"]
    assert "1 of 4 jobs failed" in done.stdout
    assert "pruned after epoch 1" in done.stdout
    with Image.open(tmp_path / "sweep" / "search.png") as picture:
        assert picture.width > picture.height


def test_a_mistake_ends_a_search(train: Command, tiny: list[str], tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    done = train("-m", *tiny, *SHORT, "sweep=learning_rate", "model.num_classes=9")
    assert done.returncode == 2
    assert "error: model.num_classes=9" in done.stderr
    assert len(rows(tmp_path)) == 1
