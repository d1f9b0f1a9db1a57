"""Jobs of a real SLURM: sweeps, columns, ends of a job before its training, and going on."""

import csv
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alexnet_repro.training.checkpoint import LAST
from tests.forks import Forks
from tests.soak.killing import compare, trained

from .cluster import Cluster, missing

reason = missing()
pytestmark = [pytest.mark.long, pytest.mark.skipif(reason is not None, reason=reason or "")]

TWO = ("trainer=two_cpu", "strategy.micro_batches=2")
STEPS = ("schedule.patience=1000", "data.num_workers=0", "checkpoint_every_n_steps=1")
EPOCHS = "schedule.epochs=20"
GOES_ON = ("skip_finished=true", "hydra.run.dir=run")
ARRANGEMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "one process": (("trainer=cpu",), ("--ntasks-per-node=1",)),
    "two columns": (TWO, ("--ntasks-per-node=2",)),
}

ENDS: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "scancel": (("scancel", "{job}"), {"CANCELLED"}),
    "killed": (("scancel", "--signal=KILL", "{job}"), {"CANCELLED", "FAILED"}),
    "out of time": (("scontrol", "update", "JobId={job}", "EndTime=now+1"), {"TIMEOUT"}),
}
"""Commands that end a job, and the states that it then may have."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Cluster]:
    before = dict(os.environ)
    os.environ |= {"ALEXNET_REPRO_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    with Cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started
    os.environ.clear()
    os.environ |= before


Submit = Callable[..., str]


@pytest.fixture
def submit(cluster: Cluster, tiny: list[str], tmp_path: Path) -> Submit:
    """Submits the training of :func:`tiny` with more arguments under srun; the job's number."""

    def job(*arguments: str, options: tuple[str, ...] = (), folder: Path = tmp_path) -> str:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "alexnet_repro.train", *tiny, *STEPS, *arguments]
        quoted = " ".join(f"'{argument}'" for argument in command)
        return cluster.submit(f"srun --kill-on-bad-exit {quoted}", *options, cwd=folder)

    return job


def wait_for_step(cluster: Cluster, job: str, run: Path) -> None:
    """Until the run has saved, and goes on."""
    deadline = time.monotonic() + 240
    while not (run / "checkpoints" / LAST).exists():
        printed = [path.read_text() for path in run.parent.glob("*.out")]
        assert time.monotonic() < deadline, printed
        assert cluster.state(job) in ("PENDING", "CONFIGURING", "RUNNING"), printed
        time.sleep(0.1)


@pytest.fixture(params=ARRANGEMENTS, scope="module")
def arrangement(request: pytest.FixtureRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Arguments of the training and options of its job."""
    return ARRANGEMENTS[request.param]


@pytest.fixture
def again(submit: Submit, arrangement: tuple[tuple[str, ...], ...]) -> Callable[[], str]:
    """Submits a training that goes on where it was; the job's number."""
    arguments, options = arrangement
    return lambda: submit(*arguments, EPOCHS, *GOES_ON, options=options)


@pytest.fixture
def job(cluster: Cluster, again: Callable[[], str], tmp_path: Path) -> str:
    """One whose run has saved, and goes on."""
    number = again()
    wait_for_step(cluster, number, tmp_path / "run")
    return number


@pytest.fixture(scope="module")
def undisturbed(
    forks: Forks,
    tiny: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    arrangement: tuple[tuple[str, ...], ...],
) -> Path:
    """The run of a training that had no SLURM."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, printed = trained(forks, folder, *tiny, *STEPS, *arrangement[0], EPOCHS)
    assert code == 0, printed
    return folder / "run"


@pytest.fixture
def ends_as_if_nobody_had_disturbed_it(
    cluster: Cluster, undisturbed: Path, tmp_path: Path
) -> Callable[[str], None]:
    """Waits for a job, and compares its run with one that had no SLURM."""

    def check(job: str) -> None:
        assert cluster.wait_until(job, "COMPLETED", "FAILED") == "COMPLETED"
        different = compare(undisturbed, tmp_path / "run")
        assert [line for line in different if "/config/" not in line] == []

    return check


def test_before_its_time_is_up_a_job_is_queued_again_and_ends_with_the_same_weights(
    cluster: Cluster,
    job: str,
    tmp_path: Path,
    ends_as_if_nobody_had_disturbed_it: Callable[[str], None],
) -> None:
    # What --signal=USR1@SECONDS has SLURM do.
    cluster.run("scancel", "--signal=USR1", job)
    assert cluster.wait_until(job, "PENDING", "COMPLETED") == "PENDING"
    cluster.start_now(job)
    ends_as_if_nobody_had_disturbed_it(job)
    # srun ends with the job, and the last lines may not come through it.
    logged = (tmp_path / "run" / "run.log").read_text()
    assert "SIGUSR1: saved, stopping" in logged
    assert f"requeueing SLURM job {job}" in logged
    assert "Traceback" not in logged + (tmp_path / f"{job}.out").read_text()


@pytest.mark.parametrize("arrangement", ["one process"], indirect=True)
def test_a_job_that_another_takes_the_place_of_is_queued_again(
    cluster: Cluster,
    job: str,
    tmp_path: Path,
    ends_as_if_nobody_had_disturbed_it: Callable[[str], None],
) -> None:
    urgent = cluster.submit("sleep 1", "--partition=urgent", "--exclusive", cwd=tmp_path)
    cluster.wait_until(urgent, "COMPLETED")
    assert "SIGTERM: saved, stopping" in (tmp_path / "run" / "run.log").read_text()
    cluster.start_now(job)
    ends_as_if_nobody_had_disturbed_it(job)


@pytest.mark.parametrize(
    ("arrangement", "end"),
    [*(("one process", end) for end in ENDS), ("two columns", "out of time")],
    indirect=["arrangement"],
)
def test_however_a_job_is_ended_its_command_goes_on(
    cluster: Cluster,
    again: Callable[[], str],
    job: str,
    tmp_path: Path,
    ends_as_if_nobody_had_disturbed_it: Callable[[str], None],
    end: str,
) -> None:
    command, states = ENDS[end]
    cluster.run(*(part.format(job=job) for part in command))
    assert cluster.wait_until(job, "CANCELLED", "FAILED", "TIMEOUT", "COMPLETED") in states
    ends_as_if_nobody_had_disturbed_it(again())
    # SLURM looks at time limits now and then: a short run may be through before.
    if end == "scancel":
        assert "SIGTERM: saved, stopping" in (tmp_path / "run" / "run.log").read_text()


def test_tasks_that_srun_starts_in_a_shell_are_columns_too(
    cluster: Cluster, tiny: list[str], tmp_path: Path
) -> None:
    command = ["-m", "alexnet_repro.train", *tiny, *TWO, "schedule.epochs=1", "hydra.run.dir=run"]
    typed = shlex.quote(shlex.join([sys.executable, *command]))
    job = cluster.submit(f"srun bash -c {typed}", "--ntasks-per-node=2", cwd=tmp_path)
    cluster.wait_until(job, "COMPLETED", "FAILED")
    printed = (tmp_path / f"{job}.out").read_text()
    assert printed.count("writing to") == 1, printed
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["arrangement"]["processes"] == 2


def test_each_job_of_an_array_goes_on_with_its_own_run(
    cluster: Cluster, submit: Submit, tmp_path: Path
) -> None:
    folder = "hydra.run.dir=run_'\"$SLURM_ARRAY_TASK_ID\"'"
    job = submit("trainer=cpu", EPOCHS, "skip_finished=true", folder, options=("--array=1-2",))
    for task in (1, 2):
        wait_for_step(cluster, f"{job}_{task}", tmp_path / f"run_{task}")
    cluster.run("scancel", "--signal=USR1", f"{job}_2")
    cluster.wait_until(f"{job}_2", "PENDING")
    cluster.start_now(f"{job}_2")
    for task in (1, 2):
        assert cluster.wait_until(f"{job}_{task}", "COMPLETED", "FAILED") == "COMPLETED"
        assert (tmp_path / f"run_{task}" / "result.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        (TWO, ("--ntasks=2",), "trainer.devices=2: start it with srun --ntasks-per-node=2"),
        ((*TWO, "model.width=0"), ("--ntasks-per-node=2",), "model.width=0"),
        ((*TWO, "data.batch_size=7"), ("--ntasks-per-node=2",), "strategy.micro_batches=2"),
    ],
)
def test_a_mistake_is_told_once(
    cluster: Cluster,
    submit: Submit,
    tmp_path: Path,
    arguments: tuple[str, ...],
    options: tuple[str, ...],
    told: str,
) -> None:
    job = submit(*arguments, "schedule.epochs=1", options=options)
    cluster.wait_until(job, "FAILED")
    lines = (tmp_path / f"{job}.out").read_text().splitlines()
    own = [line for line in lines if not line.startswith(("srun: ", "slurmstepd"))]
    assert len(own) == 1, lines
    assert told in own[0]


def test_a_sweep_is_an_array_of_which_one_job_may_fail(
    cluster: Cluster, forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("submitit")
    launcher = {
        "gpus_per_node": "null",
        "cpus_per_task": 1,
        "timeout_min": 20,
        "signal_delay_s": 60,
    }
    done: Any = forks.run(
        "-m", "alexnet_repro.train", "-m", *tiny, "trainer=cpu", "schedule.epochs=1",
        "model.num_classes=3,4", "launcher=slurm", "hydra.sweep.dir=sweep",
        *(f"hydra.launcher.{key}={value}" for key, value in launcher.items()),
        cwd=tmp_path, env=cluster.environment,
    )  # fmt: skip
    assert done.returncode != 0
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["completed", "failed"]
    assert "model.num_classes=4, but folder has 3 classes" in rows[1]["error"]
    assert "1 of 2 jobs failed" in done.stdout
