"""Replicas of the whole network through the command: sweeps, faults, and what is refused."""

import csv
import json
import os
import signal
from pathlib import Path

import pytest
from lightning.pytorch.accelerators import CUDAAccelerator

from alexnet_repro.base.errors import UsageError
from tests.forks import Forks
from tests.recorded import configuration

from .test_column_faults import Command, linux, ranks, wait_for_epochs

MARK = "ALEXNET_REPRO_TEST_MARK"
POISON = """
import lightning as L

class Poison(L.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step == 4:
            batch["image"][0] = float("inf")
"""


def alive(mark: str) -> list[Path]:
    """Processes that have inherited this mark, whichever session they are in."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found += [process] if f"{MARK}={mark}".encode() in environment else []
    return found


@pytest.mark.long
@linux
def test_a_sweep_of_two_processes_a_job_has_a_folder_a_job_and_leaves_none(
    train: Command, tiny: list[str], tmp_path: Path
) -> None:
    # Lightning's own launcher would start the whole sweep again in every second process.
    sweep = ("trainer=ddp_cpu", "seed=1,2", "schedule.epochs=1", "hydra.sweep.dir=sweep")
    done = train("-m", *tiny, *sweep, **{MARK: str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert alive(str(tmp_path)) == []
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]
    jobs = sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert [job.name for job in jobs] == ["0_alexnet_seed1", "1_alexnet_seed2"]
    for seed, job in enumerate(jobs, start=1):
        record = json.loads((job / "result.json").read_text())
        assert (record["seed"], record["images"]) == (seed, 9)
        assert record["arrangement"] == {
            "processes": 2, "columns_per_process": 2, "replicas": 2, "micro_batches": 1,
        }  # fmt: skip
        assert (job / "run.log").read_text().count("training images") == 1
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["completed", "completed"]


@pytest.mark.long
@linux
@pytest.mark.parametrize(
    ("rank", "sent", "code", "reasons"),
    [
        # Whether rank 0 notices before the launcher ends it depends on what it is at.
        ("1", signal.SIGKILL, 2, ["rank 1 (process ", "was ended by SIGKILL"]),
        ("0", signal.SIGSTOP, 2, ["rank 1 lost rank 0", "strategy.timeout"]),
        (None, signal.SIGTERM, 128 + signal.SIGTERM, ["SIGTERM: saved, stopping", "resume="]),
    ],
    ids=["killed", "hung", "interrupted"],
)
def test_a_lost_replica_or_a_signal_ends_the_command_with_all_processes(
    tiny: list[str],
    forks: Forks,
    tmp_path: Path,
    rank: str | None,
    sent: signal.Signals,
    code: int,
    reasons: list[str],
) -> None:
    arguments = ["trainer=ddp_cpu", "schedule.epochs=400", "run_name=lost", "strategy.timeout=20"]
    arguments += ["optimizer.lr=1e-9"]
    process = forks.start("-m", "alexnet_repro.train", *tiny, *arguments, cwd=tmp_path)
    wait_for_epochs(process, lambda: list(tmp_path.glob("runs/lost/*/curve.csv")))
    replicas = ranks(process.pid)
    assert replicas.keys() == {"0", "1"}
    os.kill(process.pid if rank is None else replicas[rank], sent)
    assert process.wait() == code
    told = process.printed
    for reason in reasons:
        assert reason in told
    assert "Traceback" not in told
    assert told.count("error:") == (code == 2)
    assert not any(Path(f"/proc/{pid}").exists() for pid in replicas.values())


@pytest.mark.long
def test_a_loss_that_is_not_finite_in_one_replica_stops_all(
    train_tiny: Command, tmp_path: Path
) -> None:
    (tmp_path / "poison.py").write_text(POISON)
    done = train_tiny(
        "trainer=ddp_cpu", "schedule.epochs=3", "callbacks.poison._target_=poison.Poison"
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "the loss is nan at step 5 (epoch 2, batch 2, " in line
    (written,) = tmp_path.glob("runs/*/*/nonfinite.json")
    assert len(json.loads(written.read_text())["images"]) == 8


@pytest.mark.parametrize(("gpus", "devices"), [(4, 4), (0, 1)])
@pytest.mark.parametrize("experiment", ["alexnet", "ablation_one_gpu", "torchvision_alexnet"])
def test_replicas_are_as_many_as_there_are_gpus(
    monkeypatch: pytest.MonkeyPatch, gpus: int, devices: int, experiment: str
) -> None:
    monkeypatch.setattr(CUDAAccelerator, "auto_device_count", staticmethod(lambda: gpus))
    found = configuration.__wrapped__("trainer=ddp", f"experiment={experiment}")
    assert found.processes == found.replicas == devices
    assert found.recorded()["trainer"]["devices"] == devices


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.batch_size=9"], "data.batch_size=9: 2 replicas cannot share it equally"),
        (["strategy.timeout=0"], "strategy.timeout=0: input should be greater than 0"),
        (["strategy.timeut=3"], "strategy.timeut: there is no such key"),
        (["trainer.devices=0"], "trainer.devices=0: input should be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        configuration("trainer=ddp_cpu", *overrides)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
