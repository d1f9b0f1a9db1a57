"""The page "Your own …": what it says to write and to type, as it stands there, on tiny data."""

import json
import os
import re
import runpy
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from alexnet_repro import ImageClassifier

from .conftest import Command

PAGE = (Path(__file__).parents[2] / "docs" / "your_own.md").read_text()
FILES = dict(
    re.findall(r"`([\w/]+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL)
)
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = "".join(BLOCKS).replace("\\\n", " ").splitlines()
SHORT = ["trainer=cpu", "schedule.epochs=3", "trainer.limit_train_batches=1"]
SMALL = [f"data.{key}=64" for key in ("image_size", "crop_size", "input_size")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a user who wrote the files of the page."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return tmp_path


def test_the_page_has_a_file_or_a_command_for_each_part() -> None:
    assert len(FILES) == 6
    assert len(COMMANDS) == 8


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_trains(
    line: str, folder: Path, train: Command, tiny_images: Path
) -> None:
    _, _, module, *arguments = shlex.split(line)
    assert module == "alexnet_repro.train"
    tiny = [*SHORT, "data.batch_size=8"]
    if "data=own" not in line:
        tiny += ["data=folder", f"data.source.root={tiny_images}"]
    if "model._target_" in line:
        tiny += SMALL
    else:
        tiny += ["model.width=0.1"]
    run = train(*arguments, *tiny, "hydra.run.dir=run")
    assert run.returncode == 0, run.stderr
    record = json.loads((folder / "run" / "result.json").read_text())
    assert record["epochs"] == 3
    assert set(record["errors"]) == ({"centre"} if "own_module" in line else {"centre", "ten"})
    if "callbacks.norm" in line:
        assert run.stdout.count("fc8.weight") == 3


def test_the_script_of_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    trainer = runpy.run_path(str(folder / "script.py"))["trainer"]
    assert trainer.global_step == 4
    assert "val/top1_error" in trainer.callback_metrics


def test_a_module_comes_back_from_the_checkpoint_of_a_run(tiny_run: Path) -> None:
    path = tiny_run / "checkpoints" / "last.ckpt"
    module = ImageClassifier.load_from_checkpoint(path)
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, saved[name]) for name, tensor in module.state_dict().items())
    assert module(torch.zeros(2, 3, 224, 224)).shape == (2, 3)
    (group, *_) = module.configure_optimizers().param_groups
    assert group["lr"] == 0.01


def test_a_module_comes_back_with_a_network_of_anothers(tmp_path: Path) -> None:
    network: nn.Module = resnet18(num_classes=5)
    module = ImageClassifier(network, 5, seed=7)
    path = tmp_path / "a.ckpt"
    torch.save(
        {
            "state_dict": module.state_dict(),
            "hyper_parameters": dict(module.hparams),
            "pytorch-lightning_version": "2.6.0",
        },
        path,
    )
    again = ImageClassifier.load_from_checkpoint(path, network=resnet18(num_classes=5))
    assert again.seed == 7
    for name, tensor in again.network.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
