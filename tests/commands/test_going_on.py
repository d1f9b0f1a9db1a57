"""A run that goes on, through the command: changes, folders, what is kept."""

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet_repro.base.errors import UsageError
from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.training.run import told_in_one_line
from tests.forks import Fork, Forks
from tests.soak.images import noise_images

from .test_column_faults import descendants

Command = Callable[..., subprocess.CompletedProcess[str]]

INTERRUPTED = Path(__file__).with_name("interrupted.py")


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def curve(run: Path) -> list[dict[str, str]]:
    with (run / "curve.csv").open() as file:
        return list(csv.DictReader(file))


def wait_for_checkpoint(fork: Fork, run: Path) -> Path:
    last = run / "checkpoints" / "last.ckpt"
    while not last.exists():
        assert fork.poll() is None, fork.printed
        time.sleep(0.05)
    return last


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.fixture
def run(train_tiny: Command, tmp_path: Path) -> Path:
    """A finished run of one epoch."""
    assert train_tiny("schedule.epochs=1", "hydra.run.dir=run").returncode == 0
    return tmp_path / "run"


def test_what_is_refused_leaves_the_run_as_it_was(train_tiny: Command, run: Path) -> None:
    before = contents(run)
    for arguments in (
        ["resume=run/checkpoints/last.ckpt", "schedule.epochs=2", "optimizer.lr=0.5"],
        ["resume=run/checkpoints/last.ckpt", "schedule.epochs=2", "model.width=0.5"],
        ["resume=run/checkpoints/last.ckpt", "schedule.epochs=2", "data.cache_dir=/proc/none"],
        ["hydra.run.dir=run", "schedule.epochs=2"],
        ["hydra.run.dir=run", "overwrite=true", "model.num_classes=7"],
    ):
        done = train_tiny(*arguments)
        assert done.returncode == 2, done.stdout
        assert done.stderr.count("\n") == 1
        assert contents(run) == before, arguments


def test_nothing_left_is_said_and_the_record_stays(train_tiny: Command, run: Path) -> None:
    before = contents(run)
    done = train_tiny("resume=run/checkpoints/last.ckpt", "schedule.epochs=1")
    assert done.returncode == 0, done.stderr
    assert f"nothing left to train: {run / 'result.json'} is its record" in done.stdout
    assert {k: v for k, v in contents(run).items() if k != "run.log"} == {
        k: v for k, v in before.items() if k != "run.log"
    }


def test_a_new_learning_rate_is_trained_with_and_recorded(train_tiny: Command, run: Path) -> None:
    first = json.loads((run / "result.json").read_text())
    more = ("schedule.epochs=2", "optimizer.lr=0.002", "resume_with=optimizer.lr")
    done = train_tiny("resume=run/checkpoints/last.ckpt", *more)
    assert done.returncode == 0, done.stderr
    assert [float(row["lr"]) for row in curve(run)] == pytest.approx([0.01, 0.002])
    record = json.loads((run / "result.json").read_text())
    assert record["changed"] == {"optimizer.lr": [0.01, 0.002]}
    assert record["config"]["optimizer"]["lr"] == 0.002
    assert json.loads((run / "result_1_epochs.json").read_text()) == first
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    groups = saved["optimizer_states"][0]["param_groups"]
    assert {group["lr"] for group in groups} == {0.002}


def test_overwriting_leaves_one_run(train_tiny: Command, run: Path) -> None:
    done = train_tiny("hydra.run.dir=run", "overwrite=true", "schedule.epochs=2", "seed=3")
    assert done.returncode == 0, done.stderr
    record = json.loads((run / "result.json").read_text())
    assert (record["seed"], record["resumed_from"], record["epochs"]) == (3, [], 2)
    assert not list(run.glob("result_*"))


def test_of_two_trainings_in_one_folder_at_the_same_moment_one_is_refused(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    command = ["-m", "alexnet_repro.train", *tiny, "hydra.run.dir=run", "skip_finished=true"]
    started = [forks.start(*command, "schedule.epochs=9", cwd=tmp_path) for _ in range(2)]
    assert sorted(one.wait() for one in started) == [0, 2]
    (refused,) = (one for one in started if one.wait() == 2)
    assert refused.stderr.startswith(f"error: {tmp_path / 'run'}: another run is being trained in")
    assert refused.stderr.count("\n") == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 9
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())) == 1
    assert not (tmp_path / "run" / "job.json").exists()


def test_the_folder_of_a_killed_run_is_free_at_once(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    command = ["-m", "alexnet_repro.train", *tiny, "hydra.run.dir=run", "skip_finished=true"]
    endless = ("schedule.epochs=10000", "data.num_workers=1")
    fork = forks.start(*command, *endless, cwd=tmp_path)
    last = wait_for_checkpoint(fork, tmp_path / "run")
    os.kill(fork.pid, signal.SIGKILL)  # its reader lives on for seconds
    fork.wait()
    epochs = torch.load(last, weights_only=True)["epoch"] + 2
    more = (f"schedule.epochs={epochs}", "resume_with=schedule.epochs")
    done = forks.run(*command, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_two_trainings_of_one_second_have_a_folder_each(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    command = ["-m", "alexnet_repro.train", *tiny, "schedule.epochs=1"]
    # The same second for both, and none that passes meanwhile.
    folder = "hydra.run.dir=runs/${now:%Y}"
    started = [forks.start(*command, folder, cwd=tmp_path) for _ in range(2)]
    assert [one.wait() for one in started] == [0, 0]
    runs = sorted((tmp_path / "runs").iterdir())
    assert len(runs) == 2
    assert runs[1].name == f"{runs[0].name}_2"
    assert all((run / "result.json").is_file() for run in runs)


@pytest.mark.parametrize("size", [3, 5, 8])
def test_another_batch_size_within_an_epoch_trains_every_image_once(
    forks: Forks, tiny: list[str], tmp_path: Path, size: int
) -> None:
    arguments = [*tiny, "schedule.epochs=2", "hydra.run.dir=run", "data.num_workers=0"]
    # Six steps of an epoch, and four images of the next one.
    stopped = forks.run(
        INTERRUPTED, *arguments, "data.batch_size=4", "checkpoint_every_n_steps=1",
        cwd=tmp_path, env={"BREAK_AFTER": "7"},
    )  # fmt: skip
    assert stopped.returncode == 0, stopped.stderr
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    done = forks.run(
        "-m", "alexnet_repro.train", *arguments, f"resume={last}", f"data.batch_size={size}",
        "resume_with=data.batch_size", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = curve(tmp_path / "run")
    assert int(first["step"]) == 6
    assert int(second["step"]) == 7 + (24 - 4) // size
    saved = torch.load(last, weights_only=True)
    assert saved["ImageDataModule"]["position"] == 0


def test_a_mistake_leaves_no_folder_behind(train_tiny: Command, tmp_path: Path) -> None:
    assert train_tiny("model.num_classes=7").returncode == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
def test_wandb_goes_on_with_the_same_run_and_is_disabled_where_it_is_asked_to_be(
    train_tiny: Command, tmp_path: Path
) -> None:
    pytest.importorskip("wandb")
    offline = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": ""}
    arguments = ("logger=wandb", "hydra.run.dir=run", "data.num_workers=0")
    assert train_tiny(*arguments, "schedule.epochs=1", **offline).returncode == 0
    resume = ("schedule.epochs=2", "resume=run/checkpoints/last.ckpt")
    assert train_tiny(*arguments, *resume, **offline).returncode == 0
    runs = list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert len({path.name.rpartition("-")[2] for path in runs}) == 1
    elsewhere = ("logger=wandb", "hydra.run.dir=disabled", "schedule.epochs=1")
    done = train_tiny(*elsewhere, WANDB_MODE="disabled", **offline)
    assert done.returncode == 0, done.stderr
    assert "W&B" not in done.stdout
    assert not list((tmp_path / "disabled").glob("wandb/*run*"))


def test_a_killed_wandb_ends_no_training(forks: Forks, tiny: list[str], tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    fork = forks.start(
        "-m", "alexnet_repro.train", *tiny, "schedule.epochs=15", "hydra.run.dir=run",
        "logger=[csv,wandb]", "trainer.log_every_n_steps=1", "data.num_workers=0",
        cwd=tmp_path, env={"WANDB_MODE": "offline"},
    )  # fmt: skip
    wait_for_checkpoint(fork, tmp_path / "run")
    beside = [pid for pid in descendants(fork.pid) if "wandb" in command_of(pid)]
    for pid in beside:
        os.kill(pid, signal.SIGKILL)
    assert fork.wait(120) == 0, fork.printed
    assert beside
    assert fork.stderr == ""
    assert fork.stdout.count("WandbLogger ended") == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 15
    # The others go on.
    logged = (tmp_path / "run" / "metrics" / "version_0" / "metrics.csv").read_text()
    assert "test/top1_error" in logged


def test_a_place_where_wandb_cannot_write_is_told_before_the_training(
    train_tiny: Command, tmp_path: Path
) -> None:
    pytest.importorskip("wandb")
    done = train_tiny("logger=wandb", HOME="/proc/none", WANDB_MODE="offline")
    assert done.returncode == 2
    assert done.stderr.startswith("error: logger=wandb: W&B writes to /proc/none/.config/wandb")
    assert not (tmp_path / "runs").exists()


def test_other_images_under_the_same_names_are_refused(
    train_tiny: Command, run: Path, tmp_path: Path
) -> None:
    noise_images(tmp_path / "others", train=9, others=3)
    more = ("resume=run/checkpoints/last.ckpt", "schedule.epochs=2", "data.source.root=others")
    done = train_tiny(*more)
    assert done.returncode == 2
    assert "it was trained on other images than those of the data" in done.stderr


def test_a_killed_reader_is_told_in_one_line(forks: Forks, tiny: list[str], tmp_path: Path) -> None:
    endless = [*tiny, "schedule.epochs=10000", "data.num_workers=1", "hydra.run.dir=run"]
    fork = forks.start("-m", "alexnet_repro.train", *endless, cwd=tmp_path)
    wait_for_checkpoint(fork, tmp_path / "run")
    readers = Path(f"/proc/{fork.pid}/task/{fork.pid}/children").read_text().split()
    os.kill(int(readers[0]), signal.SIGKILL)
    assert fork.wait(120) == 2, fork.printed
    assert fork.stderr.count("\n") == 1
    assert "error: data.num_workers: a data worker failed" in fork.stderr


def test_a_program_that_still_holds_its_readers_ends(
    forks: Forks, tiny_images: Path, tmp_path: Path
) -> None:
    program = tmp_path / "first_batch.py"
    program.write_text(
        "from alexnet_repro.data.datamodule import ImageDataModule\n"
        "from alexnet_repro.data.sources import folder\n"
        f"data = ImageDataModule('pets', lambda: folder({str(tiny_images)!r}), batch_size=2, "
        f"num_workers=2, cache_dir={str(tmp_path)!r})\n"
        "readers = iter(data.val_dataloader())\n"
        "print(len(next(readers)['label']))\n"
    )
    done = forks.run(program, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_a_reader_that_is_killed_while_it_sends_is_told_too() -> None:
    program = "raise ConnectionResetError(104, 'Connection reset by peer')"
    told = r"data\.num_workers: a data worker failed"
    with pytest.raises(UsageError, match=told), told_in_one_line():
        exec(compile(program, "torch/utils/data/dataloader.py", "exec"))
    with pytest.raises(ConnectionResetError), told_in_one_line():
        exec(compile(program, "elsewhere.py", "exec"))


def test_what_an_optimizer_refuses_at_its_first_step_is_told_of_the_optimizer() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    optimizer = torch.optim.SparseAdam([weight])
    told = "optimizer: SparseAdam does not support dense gradients"
    with pytest.raises(UsageError, match=told), told_in_one_line():
        optimizer.step()

    def closure() -> float:
        raise RuntimeError("what a network raises within a step")

    with pytest.raises(RuntimeError, match="what a network raises"), told_in_one_line():
        torch.optim.SGD([weight]).step(closure)


def test_images_of_another_size_than_the_networks_are_told_of_the_data() -> None:
    with pytest.raises(UsageError, match="data: images of 64×64 pixels"), told_in_one_line():
        AlexNet(num_classes=3, width=0.1)(torch.zeros(1, 3, 64, 64))


def test_jobs_that_change_their_folder_have_a_table(train_tiny: Command, tmp_path: Path) -> None:
    done = train_tiny(
        "-m", "seed=1,2", "schedule.epochs=1", "hydra.job.chdir=true", "hydra.sweep.dir=sweep"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["completed"] * 2
