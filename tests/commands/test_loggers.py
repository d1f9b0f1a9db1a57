"""``logger=``: what each holds after a run, read back from its own files."""

import io
import json
import re
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from PIL import Image

from alexnet_repro.base.config import composed, resolved
from alexnet_repro.base.errors import UsageError
from alexnet_repro.figures.logged import ENLARGED, Picture, kernel_pixels
from alexnet_repro.training.configuration import Configuration

from .offline_runs import items, read_run

Command = Callable[..., subprocess.CompletedProcess[str]]

ERRORS = ("test/top1_error", "test/top5_error", "ten_crop/top1_error", "ten_crop/top5_error")


def test_a_run_of_a_sweep_is_told_to_wandb_and_tensorboard_alike(
    train: Command, tiny: list[str], tmp_path: Path
) -> None:
    # A learning rate of its own in every step.
    options = ("schedule=cosine", "schedule.epochs=2", "data.num_workers=0")
    options += ("hydra.sweep.dir=runs/my_sweep",)
    logger = ("logger=[wandb,tensorboard]", "logger.wandb.mode=offline", "logger.wandb.tags=[a,b]")
    done = train(
        "-m", *tiny, *options, *logger, "logger.wandb.log_model=true", "experiment=ablation_no_lrn"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    run = tmp_path / "runs" / "my_sweep" / "0_ablation_no_lrn_seed0"
    (upload,) = re.findall(r"W&B: upload it with: wandb sync '(.*)'", done.stdout)
    assert Path(upload) in [path.resolve() for path in run.glob("wandb/offline-run-*")]
    result = json.loads((run / "result.json").read_text())
    # Every epoch is written once.
    assert not (run / "metrics").exists()

    kinds = read_run(run)
    (started,) = kinds["run"]
    assert started.display_name == "ablation_no_lrn_seed0"
    assert started.run_group == "my_sweep"
    assert started.project == "alexnet_repro"
    assert list(started.tags) == ["a", "b"]
    config = {}
    for update in kinds["config"]:
        config |= items(update.update)
    assert config["run_name"] == "ablation_no_lrn"
    assert config["model"]["response_norm"] is None
    assert config["optimizer"]["lr"] == 0.01

    rows = [items(history.item) for history in kinds["history"]]
    for quantity in ("lr", "train/loss", "val/loss", "val/top1_error", "val/top5_error"):
        logged = [row[quantity] for row in rows if quantity in row]
        curve = [row[quantity] for row in result["curve"]]
        assert logged[-2:] == pytest.approx(curve, abs=1e-5), quantity
    (ten,) = (row["ten_crop/top1_error"] for row in rows if "ten_crop/top1_error" in row)
    assert ten == pytest.approx(result["errors"]["ten"]["top1"], abs=1e-4)

    (files,) = run.glob("wandb/offline-run-*/files")
    shown = {
        name: [
            (row["trainer/global_step"], np.asarray(Image.open(files / path)))
            for row in rows
            for path in row.get(f"{name}/filenames", ())
        ]
        for name in ("kernels", "predictions")
    }
    assert [step for step, _ in shown["kernels"]] == [3, 6]
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    kernel = checkpoint["state_dict"]["network.conv1.weight"][0].permute(1, 2, 0).numpy()
    pixels = shown["kernels"][-1][1]
    pixels = pixels[: 11 * ENLARGED : ENLARGED, : 11 * ENLARGED : ENLARGED].astype(float)
    assert np.corrcoef(pixels.ravel(), kernel.ravel())[0, 1] > 0.99
    (predictions,) = shown["predictions"]
    assert predictions[1].std() > 10

    artifacts = [a for a in kinds["artifact"] if a.type == "model"]
    assert len(artifacts) == 2

    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = events.EventAccumulator(str(run / "tensorboard"), {"images": 0, "scalars": 0})
    board.Reload()
    for name, pictures in shown.items():
        logged = [
            (event.step, tensor_image(event.encoded_image_string)) for event in board.Images(name)
        ]
        for (step, mine), (other, theirs) in zip(pictures, logged, strict=True):
            assert step == other
            assert np.array_equal(mine, theirs)
    rates = [row["lr"] for row in result["curve"]]
    assert [event.value for event in board.Scalars("lr")] == pytest.approx(rates)
    tags = board.Tags()["scalars"]
    assert "hp_metric" not in tags
    for name in ERRORS:
        crops, top = ("centre" if "test" in name else "ten"), name.partition("/")[2][:4]
        error = board.Scalars(name)[-1].value
        assert error == pytest.approx(result["errors"][crops][top], abs=1e-4)
    about = board.SummaryMetadata("_hparams_/experiment").plugin_data.content
    for name in ERRORS:
        assert name.encode() in about
    assert b"optimizer/lr" in about


def tensor_image(encoded: bytes) -> Picture:
    return np.asarray(Image.open(io.BytesIO(encoded)))


def test_mlflow_keeps_runs_in_a_file_of_this_folder(train_tiny: Command, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    done = train_tiny("logger=mlflow", "schedule.epochs=1", "data.num_workers=0")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("runs/alexnet/*/result.json")
    result = json.loads(path.read_text())
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as base:
        ((name, status),) = base.execute("select name, status from runs").fetchall()
        metrics = dict(base.execute("select key, value from latest_metrics").fetchall())
        params = dict(base.execute("select key, value from params").fetchall())
    assert (name, status) == ("alexnet_seed0", "FINISHED")
    assert metrics["lr"] == 0.01
    assert metrics["val/loss"] == pytest.approx(result["curve"][0]["val/loss"])
    assert metrics["test/top1_error"] == pytest.approx(result["errors"]["centre"]["top1"], abs=1e-4)
    assert params["model/width"] == "0.1"
    assert list(tmp_path.rglob("*kernels*.png"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["logger=wandb", "+logger.wandb.tagz=[a]"],
            "logger.wandb.tagz: there is no such key; did you mean logger.wandb.tags?",
        ),
        (
            ["logger=wandb", "logger.wandb.mode=of"],
            "logger.wandb.mode=of: input should be 'online', 'offline', 'disabled' or 'shared'",
        ),
        (["logger=csv", "+logger.csv.foo=1"], "logger.csv.foo: there is no such key"),
        (
            ["logger=tensorboard", "logger.tensorboard.max_quue=1"],
            "logger.tensorboard.max_quue: there is no such key; did you mean "
            "logger.tensorboard.max_queue?",
        ),
    ],
)
def test_a_key_that_a_logger_does_not_take_is_told_in_one_line(
    arguments: list[str], told: str
) -> None:
    config = composed("train", *arguments, return_hydra_config=True)
    config.hydra.runtime.output_dir = "run"
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    with pytest.raises(UsageError) as error:
        Configuration.of(resolved(config))
    assert str(error.value) == told


def test_kernels_of_an_odd_number_are_shown_too() -> None:
    kernels = torch.randn(5, 3, 11, 11)
    even = kernel_pixels(torch.cat([kernels, torch.zeros(1, 3, 11, 11)]))
    assert np.array_equal(kernel_pixels(kernels), even)
