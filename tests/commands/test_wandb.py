"""``logger=wandb``: what an offline run has to upload, read back from its own file."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_repro.results.wandb_pictures import COLUMNS, ENLARGED, kernel_pixels

from .offline_runs import items, read_run

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_run_of_a_sweep_holds_group_name_config_curves_pictures_and_checkpoints(
    train: Command, tiny: list[str], tmp_path: Path
) -> None:
    options = ("schedule.epochs=2", "data.num_workers=0", "hydra.sweep.dir=runs/my_sweep")
    logger = ("logger=wandb", "logger.wandb.mode=offline", "logger.wandb.checkpoints=true")
    done = train("-m", *tiny, *options, *logger, "experiment=ablation_no_lrn")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "my_sweep" / "0_ablation_no_lrn_seed0"
    assert f"upload later with: wandb sync '{run}'/wandb/offline-run-*" in done.stdout

    kinds = read_run(run)
    (started,) = kinds["run"]
    assert started.display_name == "ablation_no_lrn_seed0"
    assert started.run_group == "my_sweep"
    assert started.project == "alexnet_repro"
    config = {}
    for update in kinds["config"]:
        config |= items(update.update)
    assert config["run_name"] == "ablation_no_lrn"
    assert config["model"]["response_norm"] is None
    assert config["optimizer"]["lr"] == 0.01

    rows = [items(history.item) for history in kinds["history"]]
    result = json.loads((run / "result.json").read_text())
    for quantity in ("train/loss", "val/loss", "val/top1_error", "val/top5_error"):
        logged = [row[quantity] for row in rows if quantity in row]
        curve = [row[quantity] for row in result["curve"]]
        assert logged[-2:] == pytest.approx(curve, abs=1e-5), quantity
    (ten,) = (row["ten_crop/top1_error"] for row in rows if "ten_crop/top1_error" in row)
    assert ten == pytest.approx(result["errors"]["ten"]["top1"], abs=1e-4)

    pictures = [row for row in rows if "kernels/path" in row]
    assert [row["trainer/global_step"] for row in pictures] == [3, 6]
    (files,) = run.glob("wandb/offline-run-*/files")
    pixels = np.asarray(Image.open(files / pictures[-1]["kernels/path"]))
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    kernel = checkpoint["state_dict"]["network.conv1.weight"][0].permute(1, 2, 0).numpy()
    shown = pixels[: 11 * ENLARGED : ENLARGED, : 11 * ENLARGED : ENLARGED].astype(float)
    assert np.corrcoef(shown.ravel(), kernel.ravel())[0, 1] > 0.99

    (predictions,) = (row["predictions/path"] for row in rows if "predictions/path" in row)
    table = json.loads((files / predictions).read_text())
    assert table["columns"] == list(COLUMNS)
    labels = sorted(row[1] for row in table["data"])
    assert labels == ["apple"] * 3 + ["banana"] * 3 + ["cherry"] * 3
    wrong = sum(row[1] != row[2] for row in table["data"])
    assert 100 * wrong / 9 == pytest.approx(result["errors"]["centre"]["top1"], abs=1e-4)
    for row in table["data"]:
        assert row[3] >= row[5] >= row[7]
        assert sum(row[3::2]) == pytest.approx(1, abs=1e-5)

    (artifact,) = (a for a in kinds["artifact"] if a.type == "model")
    assert [entry.path for entry in artifact.manifest.contents] == ["best.ckpt", "last.ckpt"]


def test_kernels_of_an_odd_number_are_shown_too() -> None:
    kernels = torch.randn(5, 3, 11, 11)
    even = kernel_pixels(torch.cat([kernels, torch.zeros(1, 3, 11, 11)]))
    assert np.array_equal(kernel_pixels(kernels), even)
