"""A loss that is not finite ends the run with what is needed to find out why."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from alexnet_repro.base.errors import UsageError
from alexnet_repro.training import nonfinite
from alexnet_repro.training.module import ImageClassifier
from alexnet_repro.training.nonfinite import NonFinite
from alexnet_repro.training.sgd import PaperSGD

CLASSES, STEPS, SIZE = 3, 12, 4
MakeTrainer = Callable[..., L.Trainer]


class Linear(nn.Sequential):
    """A small network on 4×4 images."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 4 * 4, CLASSES))


def batches(poisoned: set[int]) -> list[dict[str, Tensor]]:
    """``STEPS`` batches; an image of those in ``poisoned`` has an infinite pixel."""
    random = torch.Generator().manual_seed(0)
    made = []
    for step in range(STEPS):
        image = torch.randn(SIZE, 3, 4, 4, generator=random)
        image[1, 0, 0, 0] = torch.inf if step in poisoned else image[1, 0, 0, 0]
        label = torch.randint(CLASSES, (SIZE,), generator=random)
        made.append({"image": image, "label": label})
    return made


def names(epoch: int, batch: int) -> list[str]:
    return [f"{epoch}-{batch}-{i}.png" for i in range(SIZE)]


class Data(L.LightningDataModule):
    """Batches whose images have names."""

    def __init__(self, batches: list[dict[str, Tensor]]) -> None:
        super().__init__()
        self.batches = batches
        self.training_names = names

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]


@pytest.fixture
def fit(trainer: MakeTrainer, tmp_path: Path) -> Callable[..., tuple[ImageClassifier, Any]]:
    """Trains on these batches; returns the network and what the run was ended by, if it was."""

    def run(data: list[Any], epochs: int = 1, **options: Any) -> Any:
        torch.manual_seed(0)
        module = ImageClassifier(Linear(), CLASSES, lambda n: PaperSGD(n.parameters(), lr=0.05))
        callback = NonFinite(tmp_path)
        made = trainer(max_epochs=epochs, callbacks=[callback, *options.pop("more", [])], **options)
        try:
            made.fit(module, datamodule=Data(data))
        except UsageError as error:
            return module, error
        return module, None

    return run


def test_a_run_stops_before_the_weights_change_and_says_all(fit: Any, tmp_path: Path) -> None:
    module, told = fit(batches({8}))
    until_then, _ = fit(batches(set())[:8])
    for one, other in zip(module.parameters(), until_then.parameters(), strict=True):
        assert torch.equal(one, other)
    for part in (
        "the loss is nan at step 9 (epoch 1, batch 9, learning rate 0.05, images 0-8-0.png, ",
        f"all in {tmp_path / 'nonfinite.json'}",
        "there was no checkpoint yet",
        "lower optimizer.lr",
    ):
        assert part in str(told)
    assert "\n" not in str(told)
    record = json.loads((tmp_path / "nonfinite.json").read_text())
    assert record == {
        "step": 9,
        "epoch": 0,
        "batch": 8,
        "learning_rate": 0.05,
        "loss": "nan",
        "images": names(0, 8),
    }


def test_the_last_good_checkpoint_is_named(fit: Any, tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.touch()
    _, told = fit(batches({3}))
    assert f"the last good checkpoint is {last}" in str(told)


def test_no_checkpoint_holds_weights_that_are_not_finite(fit: Any, tmp_path: Path) -> None:
    class Damage(L.Callback):
        """A step whose loss is finite and whose update is not, and a checkpoint after it."""

        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *rest: Any) -> None:
            if trainer.global_step == 5:
                with torch.no_grad():
                    pl_module.network[1].weight[0, 0] = torch.nan
                trainer.save_checkpoint(tmp_path / "bad.ckpt")

    _, told = fit(batches(set()), more=[Damage()])
    assert "network.1.weight is not finite after step 5" in str(told)
    assert not (tmp_path / "bad.ckpt").exists()


class Waits(TorchDispatchMode):
    """Counts how often the host asks for a value: on a GPU it would wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_on_a_gpu_a_bad_loss_is_told_of_when_losses_are_read_and_named_by_its_own_step(
    fit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nonfinite, "known_at_once", lambda loss: False)
    ended: list[int] = []

    class Steps(L.Callback):
        def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: Any) -> None:
            ended.append(trainer.global_step)

    _, told = fit(batches({6, 7}), more=[Steps()], log_every_n_steps=10)
    assert "the loss is nan at step 7 (epoch 1, batch 7" in str(told)
    assert ended == [10]


def test_on_a_gpu_no_step_waits_for_its_loss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(nonfinite, "known_at_once", lambda loss: False)
    callback = NonFinite(tmp_path)
    module = ImageClassifier(Linear(), CLASSES, lambda n: PaperSGD(n.parameters(), lr=0.05))
    optimizer = module.configure_optimizers()
    seen: Any = SimpleNamespace(
        global_step=0,
        current_epoch=0,
        optimizers=[optimizer],
        log_every_n_steps=STEPS + 1,
        strategy=SingleDeviceStrategy("cpu"),
    )
    logits, label = torch.zeros(SIZE, CLASSES), torch.zeros(SIZE, dtype=torch.long)
    with Waits() as waits:
        for step in range(STEPS):
            seen.global_step = step
            loss = torch.ones(())
            callback.on_train_batch_start(seen, module, None, step)
            callback.on_before_backward(seen, module, loss)
            callback.on_train_batch_end(seen, module, None, None, step)
            module.metrics["train/errors"].update(logits, label, loss)
        assert waits.count == 0
        float(loss)
    assert waits.count == 1
