"""The learning rate falls and training ends as in §6, or as in the 2012 program's notes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader

from alexnet_repro.base.build import build
from alexnet_repro.base.config import composed
from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.training.parts import make_optimizer
from alexnet_repro.training.schedule import EpochSchedule, PlateauSchedule

MakeTrainer = Callable[..., L.Trainer]
PATIENCE = {"epochs": 90, "threshold": 0.1, "factor": 0.1, "divisions": 3}


class Scripted(L.LightningModule):
    """A module whose validation error is ``errors[epoch]`` and which records its rates."""

    def __init__(self, errors: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.ones(1))
        self.errors = errors
        self.rates: list[float] = []
        self.bias_rates: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        weight, bias = self.trainer.optimizers[0].param_groups
        self.rates.append(weight["lr"])
        self.bias_rates.append(bias["lr"])
        return 0 * (self.weight + self.bias).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/top1_error", self.errors[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            [
                {"params": [self.weight], "scheduled": True},
                {"params": [self.bias], "scheduled": False, "lr": 0.02},
            ],
            lr=0.01,
        )


@pytest.fixture
def one_batch() -> DataLoader[Any]:
    return DataLoader(torch.zeros(1, 1))  # type: ignore[arg-type]


@pytest.fixture
def rates(trainer: MakeTrainer, one_batch: DataLoader[Any]) -> Callable[..., Scripted]:
    """Train on scripted validation errors, one step an epoch."""

    def run(errors: Sequence[float], **options: Any) -> Scripted:
        module = Scripted(errors)
        schedule = PlateauSchedule(**(PATIENCE | {"monitor": "val/top1_error"} | options))
        fit = trainer(max_epochs=len(errors), callbacks=[schedule])
        fit.fit(module, one_batch, one_batch)
        return module

    return run


def test_divides_after_patience_epochs_without_improvement(rates: Callable[..., Scripted]) -> None:
    # The best error is that of the second epoch; three epochs later the rate falls.
    module = rates([90, 80, 80, 81, 80, 80, 80], patience=3)
    assert module.rates == pytest.approx([0.01] * 5 + [0.001] * 2)


def test_an_improvement_starts_the_count_anew(rates: Callable[..., Scripted]) -> None:
    module = rates([90, 91, 91, 80, 81, 81, 70, 71, 71, 71, 71], patience=3)
    assert module.rates == pytest.approx([0.01] * 10 + [0.001])


def test_does_not_divide_while_the_error_falls(rates: Callable[..., Scripted]) -> None:
    module = rates([90 - i for i in range(12)], patience=1)
    assert module.rates == pytest.approx([0.01] * 12)


@pytest.mark.parametrize(("step", "improves"), [(0.2, True), (0.04, False)])
def test_less_than_the_threshold_is_no_improvement(
    rates: Callable[..., Scripted], step: float, improves: bool
) -> None:
    # With steps of 0.04, the third is the first that lies more than 0.1 below the best.
    module = rates([90 - step * i for i in range(6)], patience=2)
    expected = [0.01] * 6 if improves else [0.01] * 3 + [0.001] * 3
    assert module.rates == pytest.approx(expected)


def test_three_divisions_and_then_the_end(rates: Callable[..., Scripted]) -> None:
    module = rates([90] * 30, patience=2)
    # The first epoch sets the best error; then two without improvement each time.
    expected = [0.01] * 3 + [0.001] * 2 + [0.0001] * 2 + [0.00001] * 2
    assert module.rates == pytest.approx(expected)


def test_without_divisions_the_first_plateau_is_the_end(rates: Callable[..., Scripted]) -> None:
    module = rates([90] * 30, patience=2, divisions=0)
    assert module.rates == pytest.approx([0.01] * 3)


def test_what_has_its_own_rate_is_not_divided(rates: Callable[..., Scripted]) -> None:
    module = rates([90] * 6, patience=2)
    assert module.rates[-1] == pytest.approx(0.0001)
    assert module.bias_rates == [0.02] * 6


def test_an_error_that_is_not_a_number_is_no_improvement(rates: Callable[..., Scripted]) -> None:
    module = rates([90, float("nan"), float("nan"), float("nan")], patience=2)
    assert module.rates == pytest.approx([0.01] * 3 + [0.001])


def test_validation_outside_of_training_counts_nothing(
    trainer: MakeTrainer, one_batch: DataLoader[Any]
) -> None:
    schedule = PlateauSchedule(**PATIENCE, patience=2, monitor="val/top1_error")  # type: ignore[arg-type]
    before = schedule.state_dict()
    trainer(callbacks=[schedule]).validate(Scripted([50]), one_batch, verbose=False)
    assert schedule.state_dict() == before


def test_the_sanity_check_counts_nothing(trainer: MakeTrainer, one_batch: DataLoader[Any]) -> None:
    schedule = PlateauSchedule(**PATIENCE, patience=2, monitor="val/top1_error")  # type: ignore[arg-type]
    module = Scripted([50])
    fit = trainer(max_epochs=0, num_sanity_val_steps=1, callbacks=[schedule])
    before = schedule.state_dict()
    fit.fit(module, one_batch, one_batch)
    assert schedule.state_dict() == before


def test_a_resumed_run_divides_where_the_whole_run_does(
    trainer: MakeTrainer, one_batch: DataLoader[Any], tmp_path: Path
) -> None:
    # The sixth epoch improves once more; divided after the 5th, 9th and 12th, ended after the 15th.
    errors = [90, 85, 85, 86, 85, 84] + 20 * [86]

    def run(epochs: int, resume: Path | None) -> tuple[L.Trainer, Scripted]:
        schedule = PlateauSchedule(**PATIENCE, patience=3, monitor="val/top1_error")  # type: ignore[arg-type]
        fit, module = trainer(max_epochs=epochs, callbacks=[schedule]), Scripted(errors)
        fit.fit(module, one_batch, one_batch, ckpt_path=resume, weights_only=True)
        return fit, module

    _, whole = run(len(errors), None)
    expected = [0.01] * 5 + [0.001] * 4 + [0.0001] * 3 + [0.00001] * 3
    assert whole.rates == pytest.approx(expected)
    for stop in (3, 5, 8, 12):
        fit, first = run(stop, None)
        fit.save_checkpoint(tmp_path / "stopped.ckpt")
        _, second = run(len(errors), tmp_path / "stopped.ckpt")
        assert first.rates + second.rates == pytest.approx(whole.rates)


# The notes of the 2012 run

RATES_2012 = [
    # from epoch: conv1's weights, other weights, conv1's biases, other biases, colour noise
    (0, 1e-2, 1e-2, 0.02, 0.02, True),
    (25, 1e-3, 1e-3, 0.02, 0.02, True),
    (51, 1e-4, 1e-4, 0.02, 0.02, True),
    (67, 1e-5, 1e-4, 0.02, 0.02, False),
    (72, 0.0, 1e-4, 0.0, 0.02, False),
    (79, 0.0, 1e-5, 0.0, 0.02, False),
]


class Noise:
    """What a schedule sees of the augmentation."""

    colour_noise = True


class Network2012(L.LightningModule):
    """A real network's parameters and optimizer, without its computation."""

    def __init__(self, optimizer: Callable[[nn.Module], torch.optim.Optimizer]) -> None:
        super().__init__()
        self.network = AlexNet(num_classes=10, width=0.01)
        self._optimizer = optimizer
        self.seen: list[tuple[int, dict[str, float], bool]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        rates = {group["name"]: group["lr"] for group in self.trainer.optimizers[0].param_groups}
        noise = self.trainer.datamodule.augmentation.colour_noise  # type: ignore[attr-defined]
        self.seen.append((self.current_epoch, rates, noise))
        return 0 * sum((p.sum() for p in self.network.parameters()), torch.zeros(()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer(self.network)


class Batches(L.LightningDataModule):
    """Two batches an epoch; records whether they get colour noise on their way to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.augmentation = Noise()
        self.noisy: list[bool] = []

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.zeros(2, 1))  # type: ignore[arg-type]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.noisy.append(self.augmentation.colour_noise)
        return batch


def plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True)


@pytest.fixture
def recipe_2012() -> Any:
    return composed("train", "recipe=source2012", "experiment=alexnet_source2012")


@pytest.fixture
def run_2012(trainer: MakeTrainer, recipe_2012: Any) -> Callable[..., tuple[Any, Any, Any]]:
    def run(
        epochs: int = 91, stop: int | None = None, resume: Path | None = None
    ) -> tuple[L.Trainer, Network2012, Batches]:
        recipe_2012.schedule.epochs = epochs
        schedule = build(plain(recipe_2012.schedule), "schedule")
        assert isinstance(schedule, EpochSchedule)
        module, data = Network2012(make_optimizer(plain(recipe_2012.optimizer))), Batches()
        fit = trainer(max_epochs=stop or epochs, callbacks=[schedule])
        fit.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        return fit, module, data

    return run


def _expected(epoch: float) -> tuple[dict[str, float], bool]:
    _, conv1, others, conv1_bias, other_biases, noise = [
        row for row in RATES_2012 if row[0] <= epoch
    ][-1]
    rates = {"conv1.weight": conv1, "conv1.bias": conv1_bias}
    for layer in ("conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"):
        rates |= {f"{layer}.weight": others, f"{layer}.bias": other_biases}
    return rates, noise


def test_rates_are_those_of_the_notes_at_every_epoch(
    run_2012: Callable[..., tuple[Any, Network2012, Batches]],
) -> None:
    _, module, _ = run_2012()
    assert len(module.seen) == 2 * 91
    for epoch, rates, noise in module.seen:
        assert (rates, noise) == _expected(epoch), epoch


def test_colour_noise_is_off_from_the_first_batch_of_epoch_67_on(
    run_2012: Callable[..., tuple[Any, Any, Batches]],
) -> None:
    _, _, data = run_2012()
    assert data.noisy == [True] * (2 * 67) + [False] * (2 * (91 - 67))


@pytest.mark.parametrize("epochs", [182, 13, 7])
def test_another_number_of_epochs_stretches_or_shrinks_the_notes(
    run_2012: Callable[..., tuple[Any, Network2012, Batches]], epochs: int
) -> None:
    _, module, _ = run_2012(epochs=epochs)
    for batch, (_, rates, _) in enumerate(module.seen):
        # Two batches an epoch: in the notes' epochs, a batch starts at
        in_notes = batch / 2 * 91 / epochs
        assert rates == _expected(in_notes + 1e-9)[0], batch


def test_a_resumed_run_has_the_rates_of_the_whole_run(
    run_2012: Callable[..., tuple[Any, Network2012, Batches]], tmp_path: Path
) -> None:
    for stop in (51, 70, 75):
        fit, _, _ = run_2012(stop=stop)
        fit.save_checkpoint(tmp_path / "stopped.ckpt")
        _, module, _ = run_2012(resume=tmp_path / "stopped.ckpt")
        assert [epoch for epoch, _, _ in module.seen] == sorted([*range(stop, 91)] * 2)
        for epoch, rates, noise in module.seen:
            assert (rates, noise) == _expected(epoch), epoch


def test_a_run_resumed_after_epoch_67_has_no_noise_in_any_batch(
    run_2012: Callable[..., tuple[Any, Any, Batches]], tmp_path: Path
) -> None:
    fit, _, _ = run_2012(stop=80)
    fit.save_checkpoint(tmp_path / "stopped.ckpt")
    _, _, data = run_2012(resume=tmp_path / "stopped.ckpt")
    assert data.noisy == [False] * (2 * 11)


# The notes of the pre-trained nets

CNN_STAR = [
    # from epoch: conv1, the other layers but fc8, fc8, colour noise
    (0, 1e-4, 1e-3, 1e-3, True),
    (0.5, 1e-4, 1e-3, 1e-2, True),  # the second of two batches of the first epoch
    (5, 1e-5, 1e-3, 1e-2, True),
    (7, 0.0, 1e-3, 1e-2, True),
    (9, 0.0, 1e-3, 1e-3, True),
    (22, 0.0, 1e-4, 1e-4, True),
    (38, 0.0, 1e-4, 1e-4, False),
    (42, 0.0, 1e-5, 1e-5, False),
]
FALL_2009 = [
    # from epoch: conv1-5, conv6 and the fully connected layers
    (0, 1e-3, 1e-2),
    (2.5, 1e-3, 1e-3),
]
FALL_2011 = [
    # from epoch: convolutions, fully connected layers
    (0, 1e-3, 1e-2),
    (6, 1e-3, 1e-3),
]


def rates_of(trainer: MakeTrainer, *overrides: str) -> list[tuple[float, dict[str, float], bool]]:
    """Position in epochs, learning rates and colour noise of every batch; two batches an epoch."""
    values = composed("train", *overrides)
    module, data = Network2012(make_optimizer(plain(values.optimizer))), Batches()
    module.network = AlexNet(num_classes=10, width=0.01, sixth_conv=True)
    schedule = build(plain(values.schedule), "schedule")
    trainer(max_epochs=schedule.epochs, callbacks=[schedule]).fit(module, datamodule=data)
    return [(i / 2, rates, noise) for i, (_, rates, noise) in enumerate(module.seen)]


def test_cnn_star_follows_the_notes_and_its_biases_the_weights(trainer: MakeTrainer) -> None:
    seen = rates_of(trainer, "experiment=finetune", "init_from=x.ckpt")
    assert len(seen) == 2 * 54
    for position, rates, noise in seen:
        _, conv1, others, fc8, noisy = [row for row in CNN_STAR if row[0] <= position][-1]
        layers = dict.fromkeys(("conv2", "conv3", "conv4", "conv5", "conv6", "fc6", "fc7"), others)
        layers |= {"conv1": conv1, "fc8": fc8}
        expected = {f"{k}.{kind}": v for k, v in layers.items() for kind in ("weight", "bias")}
        assert rates == expected, position
        assert noise == noisy, position


@pytest.mark.parametrize(
    ("schedule", "rows", "slow", "epochs"),
    [
        ("fall2009", FALL_2009, "conv1 conv2 conv3 conv4 conv5", 7),
        ("fall2011", FALL_2011, "conv1 conv2 conv3 conv4 conv5 conv6", 8),
    ],
)
def test_pre_training_follows_the_notes(
    trainer: MakeTrainer, schedule: str, rows: list[Any], slow: str, epochs: int
) -> None:
    seen = rates_of(trainer, f"schedule={schedule}", "experiment=six_conv")
    assert len(seen) == 2 * epochs
    for position, rates, _ in seen:
        _, first, second = [row for row in rows if row[0] <= position][-1]
        for name, rate in rates.items():
            layer = name.partition(".")[0]
            assert rate == (first if layer in slow.split() else second), (position, name)


def test_biases_with_a_rate_of_their_own_keep_it(trainer: MakeTrainer) -> None:
    seen = rates_of(trainer, "schedule=fall2009", "recipe=source2012", "schedule=fall2009")
    for _, rates, _ in seen:
        assert {rate for name, rate in rates.items() if name.endswith("bias")} == {0.02}
