"""A network of timm: trained, and asked, by the name of the function that makes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Command

pytest.importorskip("timm", reason="timm is not installed")
SMALL = [f"data.{key}=64" for key in ("image_size", "crop_size", "input_size")]


def test_it_trains_and_predicts(tmp_path: Path, train: Command, tiny_images: Path) -> None:
    data = ["data=folder", f"data.source.root={tiny_images}", "data.batch_size=8", *SMALL]
    model = ["model._target_=timm.create_model", "model.model_name=resnet10t"]
    done = train(*model, *data, "trainer=cpu", "schedule.epochs=1", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    predict = [sys.executable, "-m", "alexnet_repro.predict", "--trust=timm", "--json"]
    predict += ["--checkpoint=run", str(tiny_images / "test")]
    said = subprocess.run(predict, cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert len(json.loads(said.stdout)["images"]) == 9
