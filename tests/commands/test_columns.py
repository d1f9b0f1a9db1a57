"""Columns and replicas through the command measure, save and go on like one process, however
started.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.forks import Forks

TRAIN = ("-m", "alexnet_repro.train")
INTERRUPTED = (str(Path(__file__).with_name("interrupted.py")),)
SRUN_TWO = (str(Path(__file__).with_name("srun.py")), "2")
REPLICAS = ("trainer=ddp_cpu",)
TWO = ("trainer=two_cpu", "strategy.micro_batches=2")
FOUR = ("trainer=columns_ddp", "trainer.accelerator=cpu", "trainer.devices=4")
# A network whose signal keeps its size, so that every weight matters, and steps that are felt.
# Masks of dropout are others in every arrangement.
STD = (
    "conv1: 0.002, conv2: 0.1, conv3: 0.1, conv4: 0.1, conv5: 0.1, fc6: 0.06, fc7: 0.07, fc8: 0.07"
)
# Of seeds 0 and 2 two values of a pooling window are so near that rounding decides which is the
# maximum.
LEARNING = (f"model.weight_std={{{STD}}}", "model.dropout=0", "optimizer.lr=1e-6", "seed=3")
EPOCHS = 2  # of three steps


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("columns")


@pytest.fixture(scope="module")
def python(directory: Path, forks: Forks, tiny: list[str]) -> Callable[..., None]:
    """Runs Python with the arguments of a command that trains the network of this module."""

    def run(program: tuple[str, ...], *overrides: str, **environment: str) -> None:
        arguments = [*tiny, *LEARNING, f"schedule.epochs={EPOCHS}", "checkpoint_every_n_steps=2"]
        done = forks.run(*program, *arguments, *overrides, cwd=directory, env=environment)
        assert done.returncode == 0, done.stderr
        # Each line once, however many processes there are.
        assert done.stdout.count("24 training images") == 1
        if "BREAK_AFTER" not in environment:
            assert done.stdout.count(f"epoch {EPOCHS}/{EPOCHS}") == 1

    return run


def torchrun(processes: int) -> tuple[str, ...]:
    return ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")


@pytest.fixture(scope="module")
def one(python: Callable[..., None], directory: Path) -> Path:
    """The folder of an uninterrupted run of one process."""
    python(TRAIN, "run_name=one")
    return the_run(directory, "one")


def the_run(directory: Path, name: str) -> Path:
    (run,) = (directory / "runs" / name).iterdir()
    return run


def checkpoint(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return loaded


def record(run: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    return result


def assert_alike(run: Path, one: Path) -> None:
    """The same errors, curve, weights and velocities, to the rounding of 32 bits."""
    mine, theirs = record(run), record(one)
    # Nine images in batches of eight: the last batch is uneven, and no image is counted twice.
    for crops in ("centre", "ten"):
        assert mine["errors"][crops].keys() == theirs["errors"][crops].keys()
        for quantity, value in theirs["errors"][crops].items():
            assert mine["errors"][crops][quantity] == pytest.approx(value, rel=1e-4), quantity
        for top in ("top1", "top5"):
            assert mine["errors"][crops][top] == theirs["errors"][crops][top]
    for row, expected in zip(mine["curve"], theirs["curve"], strict=True):
        for key in ("epoch", "step", "lr", "train/top1_error", "val/top1_error", "val/top5_error"):
            assert row[key] == expected[key]
        for key in ("train/loss", "val/loss"):
            assert row[key] == pytest.approx(expected[key], rel=1e-4)
    whole, gathered = checkpoint(one), checkpoint(run)
    assert_close(gathered["state_dict"], whole["state_dict"])
    (optimizer,), (expected_optimizer,) = gathered["optimizer_states"], whole["optimizer_states"]
    assert optimizer["param_groups"] == expected_optimizer["param_groups"]
    assert_close(velocities(optimizer), velocities(expected_optimizer))


def velocities(optimizer: dict[str, Any]) -> dict[Any, torch.Tensor]:
    return {number: state["velocity"] for number, state in optimizer["state"].items()}


def assert_close(mine: dict[Any, torch.Tensor], theirs: dict[Any, torch.Tensor]) -> None:
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert tensor.abs().max() > 0
        torch.testing.assert_close(mine[name], tensor, rtol=0, atol=1e-4 * tensor.abs().max())


@pytest.mark.parametrize(
    ("name", "two", "columns", "replicas", "micro_batches"),
    [
        ("columns", TWO, 1, 1, 2),
        pytest.param("replicas", REPLICAS, 2, 2, 1, marks=pytest.mark.long),
    ],
    ids=["columns", "replicas"],
)
def test_two_processes_measure_and_save_what_one_does(
    python: Callable[..., None],
    directory: Path,
    one: Path,
    name: str,
    two: tuple[str, ...],
    columns: int,
    replicas: int,
    micro_batches: int,
) -> None:
    python(TRAIN, f"run_name={name}", *two)
    assert_alike(the_run(directory, name), one)
    assert record(the_run(directory, name))["arrangement"] == {
        "processes": 2,
        "columns_per_process": columns,
        "replicas": replicas,
        "micro_batches": micro_batches,
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "first", "then"),
    [
        ("one_then_four", (INTERRUPTED, ()), ((*torchrun(4), *TRAIN), FOUR)),
        ("four_then_two", ((*torchrun(4), *INTERRUPTED), FOUR), (SRUN_TWO, TWO)),
    ],
    ids=[
        "one process, then two replicas of columns under torchrun",
        "two replicas of columns, then two columns under srun",
    ],
)
def test_another_arrangement_goes_on_within_an_epoch(
    python: Callable[..., None], directory: Path, one: Path, name: str, first: Any, then: Any
) -> None:
    program, overrides = first
    python(program, f"run_name={name}", *overrides, BREAK_AFTER="4")
    assert checkpoint(the_run(directory, name))["global_step"] == 4
    program, overrides = then
    python(program, f"run_name={name}", *overrides, "resume=last")
    assert_alike(the_run(directory, name), one)


@pytest.mark.long
@pytest.mark.parametrize("then", [(*torchrun(2), *TRAIN), SRUN_TWO], ids=["torchrun", "srun"])
def test_the_same_command_of_two_processes_goes_on(
    python: Callable[..., None], directory: Path, one: Path, then: tuple[str, ...]
) -> None:
    # Beside a finished run of the same configuration it would be skipped.
    run = directory / f"started_by_{len(then)}" / "run"
    goes_on = (*TWO, "skip_finished=true", f"hydra.run.dir={run}")
    unprepared = {"ALEXNET_REPRO_CACHE": str(run.parent / "cache")}
    python((*torchrun(2), *INTERRUPTED), *goes_on, BREAK_AFTER="4", **unprepared)
    # By the first process, which tells how far it is.
    logged = (run / "run.log").read_text()
    assert "preparing" in logged
    assert "waiting for another process" not in logged
    python(then, *goes_on, **unprepared)
    assert_alike(run, one)
    assert len(record(run)["resumed_from"]) == 1


@pytest.mark.long
def test_columns_that_were_killed_before_their_test_are_tested(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    arguments = (*tiny, *LEARNING, *TWO, "schedule.epochs=1", "skip_finished=true")
    runs = [forks.run(*TRAIN, *arguments, "hydra.run.dir=tested/run", cwd=tmp_path)]
    first = record(tmp_path / "tested" / "run")
    (tmp_path / "tested" / "run" / "result.json").unlink()
    runs.append(forks.run(*TRAIN, *arguments, "hydra.run.dir=tested/run", cwd=tmp_path))
    assert [run.returncode for run in runs] == [0, 0], runs[1].stderr
    assert "nothing left to train: tested" in runs[1].stdout
    again = record(tmp_path / "tested" / "run")
    assert (again["errors"], again["curve"]) == (first["errors"], first["curve"])


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("performance", ["exact", "fast"])
def test_two_gpus_train_and_measure(
    python: Callable[..., None], directory: Path, performance: str
) -> None:
    name = f"two_gpu_{performance}"
    python(TRAIN, f"run_name={name}", "trainer=two_gpu", f"performance={performance}")
    assert record(the_run(directory, name))["images"] == 9
