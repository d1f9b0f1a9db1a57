"""A learning rate, or another constant of the optimizer, that changes as a run goes on."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.optim import Optimizer

from alexnet_repro.training.resuming import MISSING, Change

Make = Callable[[nn.Module], Optimizer]


class ChangedOptimizer(Callback):
    """Has the constants of an optimizer take effect that are others than in the checkpoint.

    The state of an optimizer holds them, and is loaded when the run goes on. A learning rate that a
    schedule has divided stays divided: it changes by the factor by which its start does.

    Args:
        before, now: the optimizers as they were and are configured.
    """

    def __init__(self, before: Make, now: Make) -> None:
        self.before, self.now = before, now

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        network: nn.Module = pl_module.network  # type: ignore[assignment]
        made = (make(network).param_groups for make in (self.before, self.now))
        schedulers = [*_schedulers(c.scheduler for c in trainer.lr_scheduler_configs)]
        groups = trainer.optimizers[0].param_groups
        for number, (group, before, now) in enumerate(zip(groups, *made, strict=True)):
            for name in now.keys() - {"params", "lr"}:
                if now[name] != before.get(name):
                    group[name] = now[name]
            if now["lr"] != before["lr"]:
                factor = now["lr"] / before["lr"] if before["lr"] else None
                group["lr"] = now["lr"] if factor is None else group["lr"] * factor
                for scheduler in schedulers:
                    scheduler.base_lrs[number] = now["lr"]


def _schedulers(given: Any) -> Iterator[Any]:
    """Those of torch, and those of which they consist."""
    for scheduler in given:
        yield from _schedulers(getattr(scheduler, "_schedulers", ()))
        if hasattr(scheduler, "base_lrs"):
            yield scheduler


def as_it_was(node: Mapping[str, Any], changed: Mapping[str, Change]) -> dict[str, Any]:
    """The node of the optimizer before these keys of the configuration changed."""
    was = deepcopy(dict(node))
    for key, (before, _) in changed.items():
        group, *above, last = key.split(".")
        if group != "optimizer":
            continue
        level: Any = was
        for part in above:
            level = level[part]
        if before == MISSING:
            level.pop(last, None)
        else:
            level[last] = before
    return was
