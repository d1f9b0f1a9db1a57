"""``python -m alexnet_repro.train``: what it prints, what it writes, how it fails."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_repro.analysis.features import features
from alexnet_repro.base.errors import UsageError
from alexnet_repro.training.checkpoint import load_trained
from tests.forks import Forks

Command = Callable[..., subprocess.CompletedProcess[str]]


def the_run(directory: Path, name: str = "alexnet") -> Path:
    """The folder of the only run of that experiment."""
    (run,) = (directory / "runs" / name).iterdir()
    return run


def curve(run: Path) -> list[dict[str, str]]:
    with (run / "curve.csv").open() as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    state: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return state


def test_a_run_leaves_result_curve_configuration_and_checkpoints(
    anew: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = anew("train", *tiny, "schedule.epochs=2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "epoch 1/2" in done.stdout
    assert "epoch 2/2" in done.stdout
    assert "chance 66.7 / 0.0 %" in done.stdout
    run = the_run(tmp_path)
    assert f"Everything is in {run}" in done.stdout
    result = json.loads((run / "result.json").read_text())
    assert result["experiment"] == "alexnet"
    assert result["split"] == "test"
    assert result["images"] == 9
    assert result["dataset"]["images"] == {"train": 24, "val": 9, "test": 9}
    # 9 images: every error is a whole number of ninths.
    for crops in ("centre", "ten"):
        wrong = result["errors"][crops]["top1"] * 9 / 100
        assert wrong == pytest.approx(round(wrong), abs=1e-4)
        low, high = result["errors"][crops]["top1_interval"]
        assert low <= result["errors"][crops]["top1"] <= high
    assert result["command"].startswith("python -m alexnet_repro.train model=alexnet_small")
    assert result["packages"]["torch"] == torch.__version__.split("+")[0]
    assert [row["epoch"] for row in curve(run)] == ["1", "2"]
    assert [row["step"] for row in curve(run)] == ["3", "6"]
    assert not (run / "metrics").exists()
    (started,) = json.loads((run / "run.json").read_text())
    assert result["resumed_from"] == []
    assert started["command"] == result["command"]
    assert {"commit", "packages", "machine", "date"} <= started.keys()
    assert "batch_size: 8" in (run / "config.yaml").read_text()
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_a_checkpoint_holds_what_classifying_needs_and_no_pickled_code(
    train_tiny: Command, tmp_path: Path
) -> None:
    assert train_tiny("schedule.epochs=1").returncode == 0
    path = the_run(tmp_path) / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    (data,) = (v for v in checkpoint.values() if isinstance(v, dict) and "mean_image" in v)
    assert data["classes"] == ["apple", "banana", "cherry"]
    assert data["mean_image"].shape == (256, 256, 3)
    assert checkpoint["config"]["model"]["width"] == 0.1
    assert checkpoint["state_dict"]["network.conv1.weight"].shape == (10, 3, 11, 11)


def test_the_same_seed_gives_the_same_losses_and_another_does_not(
    train_tiny: Command, tmp_path: Path
) -> None:
    losses = []
    for seed, name in ((1, "first"), (1, "again"), (2, "other")):
        assert train_tiny(f"seed={seed}", f"run_name={name}", "schedule.epochs=2").returncode == 0
        losses.append([row["train/loss"] for row in curve(the_run(tmp_path, name))])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_resumed_run_ends_like_an_uninterrupted_one(train_tiny: Command, tmp_path: Path) -> None:
    # An improvement of 100 points is impossible: the learning rate falls after epochs 2 and 3.
    options = ("schedule.patience=1", "schedule.threshold=100")
    assert train_tiny("run_name=whole", "schedule.epochs=3", *options).returncode == 0
    assert train_tiny("run_name=parts", "schedule.epochs=2", *options).returncode == 0
    parts = the_run(tmp_path, "parts")
    done = train_tiny("run_name=parts", "schedule.epochs=3", "resume=last", *options)
    assert done.returncode == 0, done.stderr
    assert the_run(tmp_path, "parts") == parts
    assert "epoch 3/3" in done.stdout
    assert "epoch 2/3" not in done.stdout
    whole = the_run(tmp_path, "whole")
    compared = ("epoch", "step", "lr", "train/loss", "val/loss", "val/top1_error")
    assert [[row[c] for c in compared] for row in curve(parts)] == [
        [row[c] for c in compared] for row in curve(whole)
    ]
    assert [float(row["lr"]) for row in curve(whole)] == pytest.approx([0.01, 0.01, 0.001])
    first, second = json.loads((parts / "run.json").read_text())
    assert "schedule.epochs=2" in first["command"]
    assert "resume=last" in second["command"]
    assert json.loads((parts / "result.json").read_text())["resumed_from"] == [first]
    resumed, uninterrupted = weights(parts), weights(whole)
    assert resumed.keys() == uninterrupted.keys()
    for name, tensor in uninterrupted.items():
        assert torch.equal(resumed[name], tensor), name


def test_resume_takes_the_path_of_a_checkpoint(train_tiny: Command, tmp_path: Path) -> None:
    assert train_tiny("schedule.epochs=1").returncode == 0
    path = the_run(tmp_path) / "checkpoints" / "last.ckpt"
    done = train_tiny("schedule.epochs=2", f"resume={path.relative_to(tmp_path)}")
    assert done.returncode == 0, done.stderr
    assert [row["epoch"] for row in curve(the_run(tmp_path))] == ["1", "2"]


def test_a_failing_job_does_not_end_the_sweep_silently(
    train: Command, tiny: list[str], tmp_path: Path
) -> None:
    jobs = ["experiment=glob(ablation_no_l*)", "model.num_classes=4,3", "schedule.epochs=1"]
    done = train("-m", *tiny, *jobs)
    assert done.returncode != 0
    assert "1 of 2 jobs failed" in done.stdout
    assert "model.num_classes=4, but folder has 3 classes" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    with (sweep / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["failed", "completed"]
    assert 0 <= float(rows[1]["top1"]) <= 100
    assert "experiment=ablation_no_lrn" in rows[1]["overrides"]


OTHERS = ("finetune", "relu_*", "cifar_*", "small", "evidence", "torchvision_*", "then_*")
"""Experiments of other networks or lengths, which have tests of their own."""


@pytest.mark.long
def test_every_experiment_with_the_papers_network_trains_in_one_sweep(
    train: Command, tiny: list[str], tmp_path: Path
) -> None:
    done = train(
        "-m",
        *tiny,
        f"experiment=glob(*,exclude=[{','.join(OTHERS)}])",
        "schedule.epochs=1",
        "data.num_workers=1",
    )
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "runs" / "sweeps").iterdir()
    with (sweep / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    assert {row["status"] for row in rows} == {"completed"}
    for run in sweep.glob("*_seed0"):
        (row,) = curve(run)
        assert 0 < float(row["train/loss"]) < 10
        result = json.loads((run / "result.json").read_text())
        assert f"_{result['experiment']}_seed0" in run.name
        assert f" experiment={result['experiment']} " in result["command"]


def test_a_fine_tuned_run_starts_from_the_weights_of_another(
    train_tiny: Command, tiny_run: Path, tmp_path: Path
) -> None:
    path = tiny_run / "checkpoints" / "last.ckpt"
    start = ("experiment=finetune", f"init_from={tiny_run}", "model.sixth_conv=false")
    still = "schedule.changes=[{epoch:0,weights:{others:0.0}}]"
    done = train_tiny(*start, still, "schedule.epochs=1")
    assert done.returncode == 0, done.stderr
    assert f"from {path}: conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8" in done.stdout
    run = the_run(tmp_path, "finetune")
    before = torch.load(path, weights_only=True)["state_dict"]
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, before[name]), name
    record = json.loads((run / "result.json").read_text())
    assert record["init_from_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    resumed = train_tiny(*start, still, "schedule.epochs=2", "resume=last")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming: the weights are those of the checkpoint, not of init_from" in resumed.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["init_from=none.ckpt"], "init_from=none.ckpt: there is no such checkpoint"),
        (["experiment=finetune"], "needs weights to start from; add init_from=PATH"),
    ],
)
def test_weights_that_are_not_there_are_one_line(
    train_tiny: Command, arguments: list[str], told: str
) -> None:
    done = train_tiny(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_summary_prints_the_numbers_of_the_paper_and_trains_nothing(
    train: Command, tmp_path: Path
) -> None:
    done = train("summary=true")
    assert done.returncode == 0, done.stderr
    for number in ("60,965,224", "659,272", "290,400", "both columns", "724.4"):
        assert number in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert not list(tmp_path.glob("runs/**/result.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model.removed_conv=1"],
            "model.removed_conv=1: conv1 cannot be removed, since its stride",
        ),
        (["data=folder"], "data.source.root has no default: add data.source.root="),
        (["data=folder", "data.source.root=nowhere"], "there is no folder nowhere; expected"),
        (["resume=last"], "resume=last: no run in runs/alexnet has saved checkpoints/last.ckpt"),
        (["resume=no.ckpt"], "resume=no.ckpt: there is no such checkpoint"),
        (["trainer=gpu"], "trainer.accelerator=gpu: this machine has no GPU"),
    ],
)
def test_a_mistake_is_one_line_and_a_nonzero_exit(
    train: Command, arguments: list[str], message: str
) -> None:
    if arguments == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = train(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_ctrl_c_says_how_to_go_on(forks: Forks, tmp_path: Path, tiny: list[str]) -> None:
    command = ["-m", "alexnet_repro.train", *tiny, "schedule.epochs=10000"]
    process = forks.start(*command, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/*/checkpoints/last.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait() != 0
    last = the_run(tmp_path) / "checkpoints" / "last.ckpt"
    assert f"resume={last}" in process.stdout
    assert "network.conv1.weight" in torch.load(last, weights_only=True)["state_dict"]


def test_wandb_goes_offline_where_it_cannot_be_reached_and_says_how_to_sync(
    train_tiny: Command, tmp_path: Path
) -> None:
    done = train_tiny(
        "logger=wandb", "schedule.epochs=1", WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=""
    )
    assert done.returncode == 0, done.stderr
    assert "W&B: offline, since 127.0.0.1 cannot be reached" in done.stdout
    assert "wandb sync" in done.stdout
    assert list(the_run(tmp_path).glob("wandb/offline-run-*/run-*.wandb"))


@pytest.fixture
def small_images(tmp_path: Path) -> Path:
    """Like CIFAR-10, but two classes: 32×32 pixels, 12 to train with and 4 to test with of each."""
    random = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for name in ("cat", "dog"):
            directory = tmp_path / "small" / split / name
            directory.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(directory / f"{i}.png")
    return tmp_path / "small"


def test_a_network_for_cifar10_trains_and_comes_back_from_its_checkpoint(
    train: Command, small_images: Path, tmp_path: Path
) -> None:
    done = train(
        "experiment=cifar_13_response_norm",
        "data=folder",
        f"data.source.root={small_images}",
        "data.name=small",
        "data.batch_size=8",
        "schedule.epochs=1",
        "trainer=cpu",
    )
    assert done.returncode == 0, done.stderr
    run = the_run(tmp_path, "cifar_13_response_norm")
    record = json.loads((run / "result.json").read_text())
    assert record["arrangement"]["columns_per_process"] == 1
    trained = load_trained(run / "checkpoints" / "last.ckpt")
    wrong = 0
    for path in sorted((small_images / "val").glob("*/*.png")):
        pixels = torch.from_numpy(np.array(Image.open(path))[None])
        with torch.no_grad():
            probability = torch.stack(
                [trained.network(v).softmax(1) for v in trained.views.test_views(pixels, "ten")]
            ).mean(0)
        wrong += trained.classes[int(probability.argmax())] != path.parent.name
    assert record["errors"]["ten"]["top1"] == pytest.approx(100 * wrong / 8)
    with pytest.raises(UsageError, match="does not have the layers of the paper"):
        features(trained, pixels)


def test_a_network_for_cifar10_has_no_columns_for_two_devices(train: Command) -> None:
    done = train("experiment=cifar_13", "trainer=two_cpu")
    assert done.returncode == 2
    assert "model: ColumnPipelineStrategy trains one AlexNet" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_papers_network_reads_no_other_size_than_its_own(train: Command) -> None:
    done = train("data.input_size=100")
    assert done.returncode == 2
    assert done.stderr.startswith("error: data.input_size=100: the network reads 224×224 pixels")
