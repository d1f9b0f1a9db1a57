"""One training run: compose the objects, train, test, write the record."""

import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, SequentialLR

from alexnet_repro.base.build import (
    CLASSES,
    TARGET,
    build,
    build_partial,
    described,
    located,
    taken,
)
from alexnet_repro.columns.exchange import between_processes
from alexnet_repro.columns.launch import end_with_launcher, launch, must_launch
from alexnet_repro.columns.strategy import COLUMNS
from alexnet_repro.config import checkpoint_to_resume, global_rank, resolved, sweep_name
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.errors import UsageError
from alexnet_repro.learning.checkpoint_file import CheckpointFile, whole
from alexnet_repro.learning.configuration import LENGTHS, Configuration, Node, trained
from alexnet_repro.learning.curve import Curve, curve_of
from alexnet_repro.learning.module import ImageClassifier
from alexnet_repro.learning.networks import make_network
from alexnet_repro.learning.pruning import pruning
from alexnet_repro.learning.start import check_resume, start_from
from alexnet_repro.memory import keep_freed_memory
from alexnet_repro.network.summary import print_summary
from alexnet_repro.results.finished import best_validation_error, finished_run, interrupted_run
from alexnet_repro.results.loggers import finish
from alexnet_repro.results.record import (
    FORMAT,
    chance_error,
    checksum,
    error_figures,
    provenance,
    write_json,
    write_text,
)
from alexnet_repro.results.sweep import found

log = logging.getLogger(__name__)


def train(config: DictConfig) -> float | None:
    """Train, test and record what ``config`` describes.

    The record is ``result.json`` in the run's folder.

    Returns:
        The least top-1 error in percent on the validation images, for a search to minimize; None
        in processes that write no record.

    Raises:
        UsageError: for what the user can put right.
    """
    configuration = Configuration.of(resolved(config))
    if configuration.summary:
        print_summary(configuration.model)
        return None
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    if (search := hydra.runtime.choices.get("sweep")) and not sweep_name(
        hydra.mode, str(directory)
    ):
        raise UsageError(f"sweep={search}: a search is many runs: add -m")
    resume = configuration.resume and checkpoint_to_resume(
        configuration.resume, configuration.run_name
    )
    if configuration.skip_finished:
        values = configuration.recorded()
        if path := finished_run(directory, values):
            log.info("skipped: it has been trained, see %s", path)
            found[directory] = path
            return best_validation_error(path)
        resume = resume or interrupted_run(directory, values)
    return train_and_test(configuration, directory, whole(resume) if resume else None)


def train_and_test(
    configuration: Configuration, directory: Path, resume: Path | None
) -> float | None:
    """:func:`train`, but for what has been done before.

    Args:
        directory: of the run.
        resume: the checkpoint that it goes on with.
    """
    quieten_libraries()
    end_with_launcher()
    check_accelerator(configuration.trainer)
    if on_cpu(configuration.trainer):
        keep_freed_memory()
    L.seed_everything(configuration.seed, workers=True, verbose=False)

    launches = must_launch(configuration.trainer)
    loggers = [] if launches else make_loggers(configuration)
    data = make_data(configuration)
    classes = number_of_classes(configuration.model, data)
    names = tuple(getattr(data, "classes", ()))
    if launches:
        columns = configuration.processes // configuration.replicas
        launch(configuration.processes, columns, HydraConfig.get().overrides.task, directory)
        return best_validation_error(directory / "result.json")
    processes = begin(directory, configuration) if global_rank() == 0 else []
    network = make_network(configuration.model, classes, getattr(data, "input_size", None))
    started_from = None
    if resume:
        check_resume(resume, network, names)
    if configuration.init_from is not None:
        started_from = Path(configuration.init_from).expanduser()
        if resume:
            log.info("resume goes on with weights of its own: init_from was for the start")
        else:
            start_from(started_from, network, names, configuration.init_layers)
    module = ImageClassifier(
        network,
        classes,
        make_optimizer(configuration.optimizer),
        configuration.seed,
        None if configuration.schedule_is_callback else make_scheduler(configuration),
    )
    trainer = make_trainer(configuration, directory, loggers)

    dataset = description(data, classes)
    images = dataset["images"]
    told = f": {images['train']} training images" if images else ""
    log.info("%s on %s%s", configuration.run_name, dataset["name"], told)
    log.info("writing to %s", directory)
    started = time.perf_counter()
    try:
        trainer.fit(module, data, ckpt_path=resume or None, weights_only=True)
        (metrics,) = trainer.test(module, data, verbose=False)
    except MisconfigurationException as error:
        raise UsageError(f"trainer: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        if lost := between_processes(error):
            raise lost from error
        raise
    finally:
        finish()
    if not trainer.is_global_zero:
        return None
    # What quieten_libraries keeps it from saying itself.
    if profile := trainer.profiler.summary():  # type: ignore[attr-defined]
        log.info("%s", profile)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        log.info("trainer.fast_dev_run: it runs; there is no record of one batch")
        return None
    record = {
        "format": FORMAT,
        "experiment": configuration.run_name,
        "seed": configuration.seed,
        **processes[-1],
        "arrangement": arrangement(configuration),
        "resumed_from": processes[:-1],
        "init_from_sha256": started_from and checksum(started_from),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "dataset": dataset,
        "split": getattr(data, "test_split", "test"),
        "images": module.images_tested,
        "errors": measured(metrics, module.images_tested),
        "chance": chance_error(classes),
        **learned(curve_of(trainer)),
        # Loggers do not change what is measured, and hold paths of this machine.
        "config": {k: v for k, v in configuration.recorded().items() if k != "logger"},
    }
    write_json(directory / "result.json", record)
    log.info("%s", result_line(record))
    log.info("Everything is in %s", directory)
    return best_validation_error(directory / "result.json")


def begin(directory: Path, configuration: Configuration) -> list[dict[str, Any]]:
    """Write down, before anything slow starts, what this process is about to do.

    Returns:
        The provenance of every process of this run, the present one last: ``run.json``.
    """
    path = directory / "run.json"
    processes = json.loads(path.read_text()) if path.is_file() else []
    typed = [override.removeprefix("++") for override in HydraConfig.get().overrides.task]
    processes.append(provenance("alexnet_repro.train", typed))
    write_json(path, processes)
    text = OmegaConf.to_yaml(OmegaConf.create(configuration.recorded()))
    write_text(directory / "config.yaml", text)
    return list(processes)


def make_data(configuration: Configuration) -> L.LightningDataModule:
    """The data module of ``data``; an :class:`ImageDataModule` with its images prepared.

    Raises:
        UsageError: for what the user can put right; or if another one lacks a loader.
    """
    data = build(configuration.data, "data", **configuration.data_options)
    if isinstance(data, ImageDataModule):
        data.prepare_data()
        return data
    key = f"data._target_={configuration.data[TARGET]}"
    if not isinstance(data, L.LightningDataModule):
        raise UsageError(f"{key}: it makes no LightningDataModule")
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if getattr(type(data), name) is getattr(L.LightningDataModule, name):
            raise UsageError(f"{key}: it has no {name}, which a run needs")
    return data


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
    node, options = configuration.scheduler, configuration.scheduling
    lengths = taken(located(node, "schedule"), **dict.fromkeys(LENGTHS - node.keys()))
    call = build_partial(node, "schedule", "optimizer", *lengths)

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


def make_loggers(configuration: Configuration) -> list[Logger]:
    """Those of ``logger``; of several processes only that of the first writes."""
    nodes = configuration.logger or {}
    return [build(node, f"logger.{name}") for name, node in nodes.items()]


def make_trainer(
    configuration: Configuration, directory: Path, loggers: Sequence[Logger]
) -> L.Trainer:
    """The Trainer of ``configuration``, with its callbacks."""
    values = configuration.recorded()
    filled = {"directory": directory, "dirpath": directory / "checkpoints", "config": values}
    callbacks = []
    if configuration.schedule_is_callback:
        callbacks.append(build(configuration.schedule, "schedule"))
    for name, node in configuration.callbacks.items():
        own = {k: v for k, v in taken(located(node, name), **filled).items() if k not in node}
        callbacks.append(build(node, f"callbacks.{name}", **own))
    trainer: L.Trainer = build(
        configuration.trainer,
        "trainer",
        strategy=build(configuration.strategy, "strategy") if configuration.strategy else "auto",
        callbacks=[*callbacks, *pruning()],
        logger=loggers,
        plugins=[CheckpointFile()],
        default_root_dir=directory,
        use_distributed_sampler=not configuration.data_are_stored,
    )
    return trainer


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


def arrangement(configuration: Configuration) -> dict[str, int]:
    """How the network was spread: processes, their replicas of it, parts of a batch."""
    values, split = configuration.recorded(), configuration.has_columns
    return {
        "processes": configuration.processes,
        "columns_per_process": values["model"].get("columns", 1) // (COLUMNS if split else 1),
        "replicas": configuration.replicas,
        "micro_batches": described(configuration.strategy, "strategy")["micro_batches"]
        if split
        else 1,
    }


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


def description(data: L.LightningDataModule, classes: int) -> dict[str, Any]:
    """What a record says of the data."""
    if isinstance(data, ImageDataModule):
        return data.description
    return {"name": type(data).__name__, "classes": classes, "images": {}}


def measured(metrics: Mapping[str, float], images: int) -> dict[str, Any]:
    """The test errors in percent on ``images`` images, by the crops that were looked at."""
    return {
        crops: error_figures(
            metrics[f"{stage}/loss"],
            {top: metrics[f"{stage}/{top}_error"] for top in ("top1", "top5")},
            images,
        )
        for crops, stage in (("centre", "test"), ("ten", "ten_crop"))
        if f"{stage}/loss" in metrics
    }


def learned(curve: Curve) -> dict[str, Any]:
    """The learning curve and its length."""
    return {
        "epochs": len(curve.rows),
        "train_seconds": curve.rows[-1]["seconds"] if curve.rows else 0,
        "curve": curve.rows,
    }


def result_line(record: dict[str, Any]) -> str:
    """The result in one line, with the chance level beside it."""
    centre, ten = record["errors"]["centre"], record["errors"].get("ten")
    low, high = centre["top1_interval"]
    chance = record["chance"]
    ten_crop = f"ten-crop {ten['top1']:.1f} / {ten['top5']:.1f} %; " if ten else ""
    return (
        f"{record['experiment']} on {record['dataset']['name']} ({record['split']}, "
        f"{record['images']} images): top-1 error {centre['top1']:.1f} % (95 % interval "
        f"{low:.1f}-{high:.1f}), top-5 {centre['top5']:.1f} %; {ten_crop}"
        f"chance {chance['top1']:.1f} / {chance['top5']:.1f} %"
    )


def quieten_libraries() -> None:
    """Leave what is said on the terminal to this program."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.WARNING)
    # Why a training ends is no noise.
    logging.getLogger("lightning.pytorch.callbacks.early_stopping").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    torch.set_float32_matmul_precision("highest")
