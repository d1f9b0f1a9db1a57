"""A loss that is not a number, or is infinite: the run stops with all there is to know about it."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from alexnet_repro.base.errors import DivergenceError
from alexnet_repro.base.files import write_json
from alexnet_repro.training.checkpoint import CheckpointFile, last_checkpoint


class NonFinite(Callback):
    """Stops the run at a loss that is not finite.

    No GPU waits for it: losses stay on the device, and are read where the host waits for the
    device anyway, when the loss is logged and before a checkpoint is written. The message is about
    the step where it happened, up to ``trainer.log_every_n_steps`` ago; no checkpoint holds what
    came of it. On a CPU, where nothing has to be waited for, it is read at once, before weights
    change.

    Of several replicas each has a loss of its own; they tell each other when it is read.

    Args:
        directory: of the run, which gets ``nonfinite.json``.
    """

    def __init__(self, directory: Path) -> None:
        self.path, self.last = directory / "nonfinite.json", last_checkpoint(directory)
        self._unread: list[dict[str, Any]] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = {"step": trainer.global_step + 1, "epoch": trainer.current_epoch, "batch": batch_idx}
        self._unread.append(step | {"learning_rate": _rate(trainer.optimizers[0])})

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        self._unread[-1]["loss"] = loss.detach()
        if known_at_once(loss):
            self._read(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        if trainer.global_step % max(1, trainer.log_every_n_steps) == 0:  # type: ignore[attr-defined]
            self._read(trainer)

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._read(trainer)
        for name, weights in checkpoint["state_dict"].items():
            if weights.is_floating_point() and not bool(_local(weights).isfinite().all()):
                raise DivergenceError(
                    f"{name} is not finite after step {trainer.global_step}; {self._what_to_do()}"
                )

    def _read(self, trainer: L.Trainer) -> None:
        """Stop if a loss of any replica since the last time was not finite."""
        steps, self._unread = self._unread, []
        losses = [step.pop("loss") for step in steps if "loss" in step]
        if not losses:
            return
        values = torch.stack(losses).tolist()
        first = next((n for n, value in enumerate(values) if not math.isfinite(value)), -1)
        found = torch.tensor([first, values[first]], device=losses[0].device)
        of_all = trainer.strategy.all_gather(found).reshape(-1, 2).tolist()
        if bad := [(number, loss) for number, loss in of_all if number >= 0]:
            number, loss = min(bad, key=lambda one: one[0])
            told = self._write(trainer, steps[int(number)] | {"loss": str(loss)})
            raise DivergenceError(f"the loss is {loss} at {told}; {self._what_to_do()}")

    def _write(self, trainer: L.Trainer, happened: dict[str, Any]) -> str:
        told = getattr(trainer.datamodule, "training_names", None)  # type: ignore[attr-defined]
        names = list(told(happened["epoch"], happened["batch"])) if told else []
        if trainer.is_global_zero:
            write_json(self.path, happened | {"images": names})
        shown = f", images {', '.join(names[:3])}{' …' if len(names) > 3 else ''}" if names else ""
        return (
            f"step {happened['step']} (epoch {happened['epoch'] + 1}, batch "
            f"{happened['batch'] + 1}, learning rate {happened['learning_rate']:g}{shown}: all in "
            f"{self.path})"
        )

    def _what_to_do(self) -> str:
        CheckpointFile.wait()
        if self.last.exists():
            return (
                f"the last good checkpoint is {self.last}: resume it with a lower optimizer.lr and "
                "resume_with=optimizer.lr"
            )
        return "there was no checkpoint yet: lower optimizer.lr"


def known_at_once(loss: Tensor) -> bool:
    """Whether reading it waits for nothing."""
    return loss.device.type == "cpu"


def _rate(optimizer: Optimizer) -> float:
    """The largest learning rate of any layer."""
    return max((float(group["lr"]) for group in optimizer.param_groups), default=math.nan)


def _local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
