"""The parts of a run, built of its configuration: data, network, optimizer, schedule, Trainer."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.loggers import Logger, WandbLogger
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, SequentialLR

from alexnet_repro.base.build import (
    CLASSES,
    TARGET,
    build,
    build_partial,
    built_as,
    located,
    taken,
)
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.training.changed_optimizer import ChangedOptimizer, as_it_was
from alexnet_repro.training.checkpoint import CheckpointFile, RunFolder, WholeEpochs
from alexnet_repro.training.configuration import SCHEDULING, Configuration, Node, trained
from alexnet_repro.training.curve import Curve
from alexnet_repro.training.loggers import outlived
from alexnet_repro.training.pruning import pruning
from alexnet_repro.training.record import Record
from alexnet_repro.training.resuming import Start, asked, check_classes


def make_data(configuration: Configuration, start: Start) -> L.LightningDataModule:
    """The data module of ``data``; an :class:`ImageDataModule` with its images prepared.

    Raises:
        UsageError: for what the user can put right; or if another one lacks a loader, or ``start``
            goes on from a checkpoint of other classes.
    """
    data = built_as(L.LightningDataModule, configuration.data, "data", **configuration.data_options)
    # What the classes say may be told before hours of work.
    if isinstance(data, ImageDataModule):
        number_of_classes(configuration.model, data)
    if start.checkpoint is not None:
        path = Path(start.checkpoint)
        check_classes(asked(configuration, path), path, data)
    if isinstance(data, ImageDataModule):
        data.prepare_data()
        return data
    key = f"data._target_={configuration.data[TARGET]}"
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if getattr(type(data), name) is getattr(L.LightningDataModule, name):
            raise UsageError(f"{key}: it has no {name}, which a run needs")
    return data


def number_of_classes(model: Node, data: Any) -> int:
    """The classes of the data, checked against ``model.num_classes`` if that is set.

    A data module of somebody else's tells them by ``classes`` (their names) or ``num_classes``, or
    leaves them to the configuration.
    """
    key = model.get(CLASSES) or "num_classes"
    asked, names = model.get(key), getattr(data, "classes", None)
    found = getattr(data, "num_classes", None) if names is None else len(names)
    name = getattr(data, "dataset_name", type(data).__name__)
    if asked is None and found is None:
        raise UsageError(f"model.{key}: {name} does not say how many classes it has; add it")
    if None not in (asked, found) and asked != found:
        raise UsageError(f"model.{key}={asked}, but {name} has {found} classes")
    number: int = asked or found  # type: ignore[assignment]
    return number


def make_optimizer(node: Node) -> Callable[[nn.Module], Optimizer]:
    """From a network to its optimizer, as the node of ``optimizer`` says."""
    needed = trained(node)
    call = build_partial(node, "optimizer", *needed)

    def optimizer(network: nn.Module) -> Optimizer:
        given = {"network": network} if "network" in needed else {"params": network.parameters()}
        made: Optimizer = call(**given)
        return made

    return optimizer


def make_scheduler(configuration: Configuration) -> Callable[[Optimizer, L.Trainer], Any]:
    """From an optimizer to a scheduler of torch, as Lightning takes it."""
    node, options = configuration.schedule, configuration.scheduling
    lengths = configuration.lengths
    call = build_partial(node, "schedule", *SCHEDULING, *lengths)

    def scheduler(optimizer: Optimizer, trainer: L.Trainer) -> dict[str, Any]:
        per_epoch = 1 if options.interval == "epoch" else steps_per_epoch(trainer)
        warmup = round(options.warmup_epochs * per_epoch)
        length = options.epochs * per_epoch - warmup
        made = call(optimizer=optimizer, **dict.fromkeys(lengths, length))
        if warmup:
            rising = LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
            made = SequentialLR(optimizer, [rising, made], milestones=[warmup])
        return {
            "scheduler": made,
            "interval": options.interval,
            "frequency": options.frequency,
            "monitor": options.monitor,
        }

    return scheduler


def steps_per_epoch(trainer: L.Trainer) -> int:
    """Optimizer steps of a whole epoch.

    Raises:
        UsageError: if the data do not say how many batches they have.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    batches: float
    if isinstance(data, ImageDataModule):
        # Asked for an estimate of the steps, the Trainer would begin to read at once; but where a
        # resumed run begins, it is told only after its schedules are made.
        batches, limit = len(data.train_dataloader()), trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    else:
        _ = trainer.estimated_stepping_batches
        batches = trainer.num_training_batches
    if batches == math.inf:
        raise UsageError(
            "schedule.interval=step: the data do not say how many batches an epoch has; take "
            "schedule.interval=epoch"
        )
    return math.ceil(batches / trainer.accumulate_grad_batches)


def make_loggers(configuration: Configuration, start: Start) -> list[Logger]:
    """Those of ``logger``; of several processes only that of the first writes.

    A run that goes on goes on in W&B too.
    """
    loggers = []
    for name, node in (configuration.logger or {}).items():
        same = start.wandb is not None and located(node, name) is WandbLogger
        goes_on = {"id": start.wandb, "resume": "allow"} if same else {}
        loggers.append(outlived(built_as(Logger, goes_on | node, f"logger.{name}")))  # type: ignore[type-abstract]
    return loggers


def make_trainer(configuration: Configuration, start: Start) -> L.Trainer:
    """The Trainer of ``configuration``, with its callbacks and loggers."""
    directory, config = Path(start.directory), configuration.recorded()
    checkpoints = directory / "checkpoints"
    filled = {"directory": directory, "dirpath": checkpoints, "config": config}
    # A schedule has the last word on learning rates.
    callbacks: list[L.Callback] = []
    if any(key.startswith("optimizer.") for key in start.changed):
        now = configuration.optimizer
        was = as_it_was(now, start.changed)
        callbacks.append(ChangedOptimizer(make_optimizer(was), make_optimizer(now)))
    if configuration.schedule_is_callback:
        callbacks.append(build(configuration.schedule, "schedule"))
    callbacks += [
        Record(directory, config, start),
        Curve(directory),
        RunFolder(directory, config, configuration.checkpoint_every_n_steps),
    ]
    for name, node in configuration.callbacks.items():
        own = {k: v for k, v in taken(located(node, name), **filled).items() if k not in node}
        callbacks.append(built_as(L.Callback, node, f"callbacks.{name}", **own))
    callbacks += [*pruning(), WholeEpochs(checkpoints, "last")]
    # cuDNN tries which of its algorithms is fastest: not always the same, so not if it has to be.
    tried = {"benchmark": not configuration.trainer.get("deterministic", False)}
    return built_as(
        L.Trainer,
        tried | configuration.trainer,
        "trainer",
        strategy=build(configuration.strategy, "strategy") if configuration.strategy else "auto",
        callbacks=callbacks,
        logger=make_loggers(configuration, start),
        plugins=[CheckpointFile()],
        default_root_dir=directory,
        use_distributed_sampler=not configuration.data_are_stored,
    )


def on_cpu(trainer: Mapping[str, Any]) -> bool:
    """Whether the network is computed on the CPU."""
    has_gpu = CUDAAccelerator.is_available() or MPSAccelerator.is_available()
    return trainer["accelerator"] == "cpu" or (trainer["accelerator"] == "auto" and not has_gpu)


def check_accelerator(trainer: Mapping[str, Any]) -> None:
    """Raise a UsageError if GPUs are asked for where there are none, or not as many."""
    if trainer["accelerator"] != "gpu":
        return
    if not (CUDAAccelerator.is_available() or MPSAccelerator.is_available()):
        raise UsageError(
            "trainer.accelerator=gpu: this machine has no GPU that torch can use; "
            "trainer=cpu or trainer=auto run without one"
        )
    available = max(1, CUDAAccelerator.auto_device_count())
    if trainer["devices"] > available:
        raise UsageError(
            f"trainer.devices={trainer['devices']}: GPUs of this machine that torch can use: "
            f"{available}; trainer=gpu takes one, two_cpu and ddp_cpu none"
        )
