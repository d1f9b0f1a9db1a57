"""One training run: compose the objects, train, test, write the record."""

import json
import logging
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf

from alexnet_repro.columns.launch import end_with_launcher, launch, must_launch
from alexnet_repro.config import checkpoint_to_resume, global_rank
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.errors import UsageError
from alexnet_repro.learning.checkpoint_file import CheckpointFile, whole
from alexnet_repro.learning.curve import Curve
from alexnet_repro.learning.interruption import Interruption
from alexnet_repro.learning.module import ImageClassifier
from alexnet_repro.learning.nonfinite import NonFinite
from alexnet_repro.learning.progress import TrainingProgress
from alexnet_repro.learning.pruning import pruning
from alexnet_repro.learning.run_folder import RunFolder, checkpoints
from alexnet_repro.learning.start import check_resume, start_from
from alexnet_repro.memory import keep_freed_memory
from alexnet_repro.results.finished import best_validation_error, finished_run, interrupted_run
from alexnet_repro.results.loggers import finish, wandb_pictures
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


def train(values: dict[str, Any]) -> float | None:
    """Train, test and record what ``values`` (a validated configuration) describes.

    The record is ``result.json`` in the run's folder.

    Returns:
        The least top-1 error in percent on the validation images, for a search to minimize; None
        in processes that write no record.

    Raises:
        UsageError: for what the user can put right.
    """
    directory = Path(HydraConfig.get().runtime.output_dir)
    resume = values["resume"] and checkpoint_to_resume(values["resume"], values["run_name"])
    if values["skip_finished"]:
        if path := finished_run(directory, values):
            log.info("skipped: it has been trained, see %s", path)
            found[directory] = path
            return best_validation_error(path)
        resume = resume or interrupted_run(directory, values)
    return train_and_test(values, directory, whole(resume) if resume else None)


def train_and_test(values: dict[str, Any], directory: Path, resume: Path | None) -> float | None:
    """:func:`train`, but for what has been done before.

    Args:
        directory: of the run.
        resume: the checkpoint that it goes on with.
    """
    quieten_libraries()
    end_with_launcher()
    check_accelerator(values["trainer"])
    if on_cpu(values["trainer"]):
        keep_freed_memory()
    L.seed_everything(values["seed"], workers=True, verbose=False)

    data: ImageDataModule = instantiate(
        values["data"], augment=values["augment"], seed=values["seed"]
    )
    data.prepare_data()
    classes = number_of_classes(values, data)
    if must_launch(values["trainer"]):
        launch(values["trainer"]["devices"], HydraConfig.get().overrides.task, directory)
        return best_validation_error(directory / "result.json")
    processes = begin(directory, values) if global_rank() == 0 else []
    network = instantiate(values["model"] | {"num_classes": classes})
    started_from = None
    if resume:
        check_resume(resume, network, data.classes)
    if values["init_from"] is not None:
        started_from = Path(values["init_from"]).expanduser()
        if resume:
            log.info("resume goes on with weights of its own: init_from was for the start")
        else:
            start_from(started_from, network, data.classes, values["init_layers"])
    module = ImageClassifier(network, classes, instantiate(values["optimizer"]), values["seed"])
    curve = Curve(directory)
    trainer = make_trainer(values, directory, curve, data)

    images = len(data.store.splits["train"])
    log.info("%s on %s: %d training images", values["run_name"], data.dataset_name, images)
    log.info("writing to %s", directory)
    started = time.perf_counter()
    try:
        trainer.fit(module, data, ckpt_path=resume or None, weights_only=True)
        (metrics,) = trainer.test(module, data, verbose=False)
    finally:
        finish()
    if not trainer.is_global_zero:
        return None
    tested = min(
        len(data.store.splits[data.test_split]), sum(trainer.num_test_batches) * data.batch_size
    )
    record = {
        "format": FORMAT,
        "experiment": values["run_name"],
        "seed": values["seed"],
        **processes[-1],
        "arrangement": arrangement(values),
        "resumed_from": processes[:-1],
        "init_from_sha256": started_from and checksum(started_from),
        "wall_seconds": round(time.perf_counter() - started, 1),
        **measured(data, metrics, int(tested)),
        **learned(curve),
        # Loggers do not change what is measured, and hold paths of this machine.
        "config": {key: value for key, value in values.items() if key != "logger"},
    }
    write_json(directory / "result.json", record)
    log.info("%s", result_line(record))
    log.info("Everything is in %s", directory)
    return best_validation_error(directory / "result.json")


def begin(directory: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Write down, before anything slow starts, what this process is about to do.

    Returns:
        The provenance of every process of this run, the present one last: ``run.json``.
    """
    path = directory / "run.json"
    processes = json.loads(path.read_text()) if path.is_file() else []
    overrides = HydraConfig.get().overrides.task
    processes.append(provenance("alexnet_repro.train", overrides))
    write_json(path, processes)
    write_text(directory / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(values)))
    return list(processes)


def make_trainer(
    values: dict[str, Any], directory: Path, curve: Curve, data: ImageDataModule
) -> L.Trainer:
    """The Trainer of ``values``, with the callbacks and loggers of a run."""
    loggers = values["logger"] if global_rank() == 0 else {}
    folder = RunFolder(directory, values)
    trainer: L.Trainer = instantiate(
        values["trainer"],
        strategy=instantiate(values["strategy"]) if has_columns(values) else "auto",
        callbacks=[
            instantiate(values["schedule"]),
            curve,
            TrainingProgress(curve),
            NonFinite(directory, folder.last, values["on_nonfinite"], data.training_names),
            folder,
            Interruption(folder.save, goes_on=values["skip_finished"]),
            *wandb_pictures(values, directory),
            *pruning(),
            *checkpoints(directory / "checkpoints"),
        ],
        logger=[instantiate(logger) for logger in loggers.values()],
        plugins=[CheckpointFile()],
        default_root_dir=directory,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
    )
    for logger in trainer.loggers:
        if not isinstance(logger, CSVLogger):
            logger.log_hyperparams(values)
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
            f"{available}; trainer=gpu takes one, trainer=two_cpu none"
        )


def has_columns(values: dict[str, Any]) -> bool:
    """Whether the network is spread over devices, a column on each."""
    return "_target_" in values["strategy"]


def arrangement(values: dict[str, Any]) -> dict[str, int]:
    """How the network was spread: processes, their replicas of it, parts of a batch."""
    processes = values["trainer"]["devices"] * values["trainer"]["num_nodes"]
    split = has_columns(values)
    return {
        "processes": processes,
        "columns_per_process": values["model"].get("columns", 1) // (2 if split else 1),
        "replicas": processes // 2 if split else 1,
        "micro_batches": values["strategy"]["micro_batches"] if split else 1,
    }


def number_of_classes(values: dict[str, Any], data: ImageDataModule) -> int:
    """The classes of the data, checked against ``model.num_classes`` if that is set."""
    asked, found = values["model"]["num_classes"], len(data.classes)
    if asked not in (None, found):
        raise UsageError(f"model.num_classes={asked}, but {data.dataset_name} has {found} classes")
    return found


def measured(data: ImageDataModule, metrics: Mapping[str, float], images: int) -> dict[str, Any]:
    """The test errors in percent on ``images`` images, with the chance level and the data."""
    errors = {
        crops: error_figures(
            metrics[f"{stage}/loss"],
            {top: metrics[f"{stage}/{top}_error"] for top in ("top1", "top5")},
            images,
        )
        for crops, stage in (("centre", "test"), ("ten", "ten_crop"))
    }
    return {
        "dataset": data.description,
        "split": data.test_split,
        "images": images,
        "errors": errors,
        "chance": chance_error(len(data.classes)),
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
    centre, ten = record["errors"]["centre"], record["errors"]["ten"]
    low, high = centre["top1_interval"]
    chance = record["chance"]
    return (
        f"{record['experiment']} on {record['dataset']['name']} ({record['split']}, "
        f"{record['images']} images): top-1 error {centre['top1']:.1f} % (95 % interval "
        f"{low:.1f}-{high:.1f}), top-5 {centre['top5']:.1f} %; ten-crop {ten['top1']:.1f} / "
        f"{ten['top5']:.1f} %; chance {chance['top1']:.1f} / {chance['top5']:.1f} %"
    )


def quieten_libraries() -> None:
    """Leave what is said on the terminal to this program."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    torch.set_float32_matmul_precision("highest")
