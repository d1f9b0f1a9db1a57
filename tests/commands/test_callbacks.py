"""``callbacks=``: Lightning's own, and a researcher's own."""

import csv
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from alexnet_repro.base.config import composed, resolved
from alexnet_repro.base.errors import UsageError
from alexnet_repro.results.conditions import settings
from alexnet_repro.training.configuration import Configuration
from alexnet_repro.training.resuming import same_configuration

Command = Callable[..., subprocess.CompletedProcess[str]]

EMA = ("callbacks=weight_averaging", "callbacks.weight_averaging.decay=0.9")

MINE = """
from lightning.pytorch.callbacks import Callback

class MyCallback(Callback):
    def __init__(self, directory, word="hello"):
        self.file, self.word = directory / "mine.txt", word

    def on_train_end(self, trainer, module):
        self.file.write_text(self.word)
"""

RECORDING = """
import torch
from lightning.pytorch.callbacks import Callback

class Recording(Callback):
    def __init__(self, directory):
        self.directory, self.steps = directory, []

    def kernel(self, module):
        return module.network.conv1.weight.detach().clone()

    def on_train_start(self, trainer, module):
        self.steps = [self.kernel(module)]

    def on_train_batch_end(self, trainer, module, *arguments):
        self.steps.append(self.kernel(module))

    def on_validation_batch_end(self, trainer, module, *arguments):
        self.validated = self.kernel(module)

    def on_test_start(self, trainer, module):
        tested = self.kernel(module)
        kept = {"steps": self.steps, "validated": self.validated, "tested": tested}
        torch.save(kept, self.directory / "recorded.pt")
"""


def on_path(directory: Path) -> dict[str, str]:
    """The environment in which a module of ``directory`` is found."""
    own = filter(None, [str(directory), os.environ.get("PYTHONPATH")])
    return {"PYTHONPATH": os.pathsep.join(own)}


def read(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def test_averaged_weights_are_validated_tested_and_kept_and_a_resumed_run_goes_on_with_them(
    train_tiny: Command, tmp_path: Path
) -> None:
    (tmp_path / "recording.py").write_text(RECORDING)
    mine = ("+callbacks.recording._target_=recording.Recording", "data.num_workers=0")
    done = train_tiny(*EMA, *mine, "schedule.epochs=2", "hydra.run.dir=whole", **on_path(tmp_path))
    assert done.returncode == 0, done.stderr

    recorded = read(tmp_path / "whole" / "recorded.pt")
    # The first step begins the average.
    _, average, *later = recorded["steps"]
    assert len(later) == 5
    for weight in later:
        average = 0.9 * average + 0.1 * weight
    last = read(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    kept = last["state_dict"]["network.conv1.weight"]
    assert torch.allclose(kept, average, rtol=0, atol=1e-8)
    assert torch.equal(recorded["validated"], kept)
    assert torch.equal(recorded["tested"], kept)
    assert torch.equal(last["current_model_state"]["network.conv1.weight"], recorded["steps"][-1])
    assert not torch.equal(recorded["steps"][-1], kept)

    # Within an epoch, too: the average has seen the step after which it is saved.
    cut = ("trainer.max_steps=4", "hydra.run.dir=cut")
    done = train_tiny(*EMA, "data.num_workers=0", "schedule.epochs=2", *cut)
    assert done.returncode == 0, done.stderr
    resume = ("resume=cut/checkpoints/last.ckpt", "hydra.run.dir=cut")
    done = train_tiny(*EMA, "data.num_workers=0", "schedule.epochs=2", *resume)
    assert done.returncode == 0, done.stderr
    resumed = read(tmp_path / "cut" / "checkpoints" / "last.ckpt")
    for name, weight in last["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], weight), name


def test_callbacks_of_lightning_and_of_ones_own_are_combined(
    train_tiny: Command, tmp_path: Path
) -> None:
    (tmp_path / "my_module.py").write_text(MINE)
    done = train_tiny(
        "callbacks=[lr_monitor,early_stopping,throughput,device_stats]",
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=100",
        "callbacks.mine._target_=my_module.MyCallback",
        "callbacks.mine.word=mine",
        "callbacks.throughput.window_size=3",
        "~callbacks.progress",
        "logger=csv",
        "trainer.log_every_n_steps=1",
        "schedule.epochs=9",
        "hydra.run.dir=run",
        **on_path(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "epoch 1/" not in done.stdout
    assert "Monitored metric val/top1_error did not improve in the last 1 records" in done.stdout
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"
    with (tmp_path / "run" / "curve.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    with (tmp_path / "run" / "metrics" / "version_0" / "metrics.csv").open() as file:
        logged = next(csv.reader(file))
    for name in ("lr-PaperSGD/conv1.weight", "train/device/samples_per_sec", "train/step_loss"):
        assert name in logged
    assert any(name.startswith("DeviceStatsMonitor") for name in logged)


def test_a_run_without_callbacks_of_the_configuration_has_a_record_and_goes_on(
    train_tiny: Command, tmp_path: Path
) -> None:
    own = tmp_path / "conf" / "callbacks" / "none.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("{}\n")
    alone = ("--config-dir=conf", "callbacks=none", "hydra.run.dir=run", "data.num_workers=0")
    assert train_tiny(*alone, "schedule.epochs=1").returncode == 0
    done = train_tiny(*alone, "schedule.epochs=2", "resume=run/checkpoints/last.ckpt")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 2
    assert (tmp_path / "run" / "curve.csv").is_file()


def test_a_callback_that_needs_a_logger_is_told_in_one_line(train_tiny: Command) -> None:
    done = train_tiny("callbacks=lr_monitor")
    assert done.returncode == 2
    assert done.stderr.startswith("error: trainer: Cannot use `LearningRateMonitor` callback with")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["callbacks=weight_averaging", "callbacks.weight_averaging.decai=0.9"],
            "callbacks.weight_averaging.decai: there is no such key; did you mean "
            "callbacks.weight_averaging.decay?",
        ),
        (
            ["callbacks=weight_averaging", "trainer=two_cpu"],
            "callbacks.weight_averaging: weights that are spread over devices are not averaged",
        ),
        (
            ["+callbacks.mine._target_=lightning.pytorch.callbacks.EarlyStoping"],
            "there is no EarlyStoping in lightning.pytorch.callbacks; did you mean EarlyStopping?",
        ),
    ],
)
def test_what_callbacks_cannot_be_is_told_in_one_line(arguments: list[str], told: str) -> None:
    config = composed("train", *arguments, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    with pytest.raises(UsageError) as error:
        Configuration.of(resolved(config))
    assert told in str(error.value)


def test_a_callback_that_only_watches_makes_no_other_run_and_one_that_averages_does() -> None:
    plain, watched, averaged = (
        {"callbacks": OmegaConf.to_container(composed("train", *chosen).callbacks, resolve=False)}
        for chosen in ((), ("callbacks=[lr_monitor,throughput,device_stats]",), EMA)
    )
    assert same_configuration(plain, watched)
    assert settings(plain) == settings(watched)
    assert not same_configuration(plain, averaged)
    assert settings(averaged)["callbacks.weight_averaging.decay"] == 0.9


def test_what_lightning_averages_at_the_end_has_a_checkpoint(
    train_tiny: Command, command: Command, tmp_path: Path, tiny_images: Path
) -> None:
    swa = "callbacks.swa._target_=lightning.pytorch.callbacks.StochasticWeightAveraging"
    more = ("callbacks.swa.swa_lrs=0.05", "callbacks.swa.swa_epoch_start=1", "schedule.epochs=3")
    done = train_tiny(swa, *more, "schedule=constant", "optimizer.lr=0.05", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    tested = json.loads((tmp_path / "run" / "result.json").read_text())["errors"]["centre"]
    data = ("data=folder", f"data.source.root={tiny_images}", "crops=centre", "output=again.json")
    path = "run/checkpoints/averaged.ckpt"
    assert command("evaluate", f"checkpoint={path}", *data).returncode == 0
    measured = json.loads((tmp_path / "again.json").read_text())["errors"]["centre"]
    key = "negative_log_likelihood"
    assert measured[key] == pytest.approx(tested[key], rel=1e-5)
