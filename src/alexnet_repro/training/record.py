"""The record of a run: what it is, written at its start, and what it measured, after its test."""

import logging
import time
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from pydantic_core import from_json

from alexnet_repro.base.files import checksum, write_json, write_text
from alexnet_repro.base.record import FORMAT, chance_error, error_figures, provenance
from alexnet_repro.base.schema import RESULT, read_record
from alexnet_repro.columns.strategy import COLUMNS, ColumnPipelineStrategy
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.training.curve import curve_of
from alexnet_repro.training.module import ImageClassifier
from alexnet_repro.training.resuming import Start

log = logging.getLogger(__name__)


class Record(Callback):
    """Writes ``run.json`` and ``config.yaml`` before anything slow starts, then ``result.json``.

    ``run.json`` has the provenance of every process of the run, of one that was resumed several.

    A record that the run had before it went on is kept under the number of its epochs.

    Args:
        directory: of the run.
        config: its configuration, with all defaults.
        start: how it starts.
    """

    def __init__(self, directory: Path, config: dict[str, Any], start: Start) -> None:
        self.directory, self.config, self.start = directory, config, start
        self._init_from: str | None = None
        self._processes: list[dict[str, Any]] = []
        self._started = 0.0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """By now a checkpoint that the run goes on with has been taken."""
        if trainer.is_global_zero:
            self._begin()

    def _begin(self) -> None:
        if self.start.init_from is not None:
            self._init_from = checksum(Path(self.start.init_from))
        path = self.directory / "run.json"
        goes_on = self.start.checkpoint is not None and path.is_file()
        before = processes(path) if goes_on else []
        (self.directory / "job.json").unlink(missing_ok=True)  # why it ended before
        process = provenance("alexnet_repro.train", HydraConfig.get().overrides.task)
        if self.start.changed:
            process["changed"] = self.start.changed
        self._processes = [*before, process]
        write_json(path, self._processes)
        text = OmegaConf.to_yaml(OmegaConf.create(self.config))
        write_text(self.directory / "config.yaml", text)

    def state_dict(self) -> dict[str, Any]:
        return {"init_from_sha256": self._init_from}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._init_from = state_dict["init_from_sha256"]

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            log.info("trainer.fast_dev_run succeeded; no record is written")
            return
        assert isinstance(pl_module, ImageClassifier)
        if not self._processes:  # the checkpoint was of the end: nothing was trained
            self._begin()
        record, path = self._record(trainer, pl_module), self.directory / RESULT
        if path.is_file():
            path.rename(path.with_stem(f"{path.stem}_{_length(path)}"))
        write_json(path, record)
        log.info("%s", result_line(record))
        log.info("Everything is in %s", self.directory)

    def _record(self, trainer: L.Trainer, module: ImageClassifier) -> dict[str, Any]:
        data = trainer.datamodule  # type: ignore[attr-defined]
        classes = module.hparams["num_classes"]
        rows = curve_of(trainer).rows
        return {
            "format": FORMAT,
            "experiment": self.config["run_name"],
            "seed": self.config["seed"],
            **self._processes[-1],
            "arrangement": arrangement(trainer, self.config["model"].get("columns", 1)),
            "resumed_from": self._processes[:-1],
            "init_from_sha256": self._init_from,
            "wall_seconds": round(time.perf_counter() - self._started, 1),
            "dataset": description(data, classes),
            "split": getattr(data, "test_split", "test"),
            "images": module.images_tested["test"],
            "errors": measured(trainer, module, centre="test", ten="ten_crop"),
            "training_errors": measured(trainer, module, centre="train_centre"),
            "chance": chance_error(classes),
            "epochs": len(rows),
            "train_seconds": rows[-1]["seconds"] if rows else 0,
            "curve": rows,
            # Loggers do not change what is measured, and hold paths of this machine.
            "config": {key: value for key, value in self.config.items() if key != "logger"},
        }


def processes(path: Path) -> list[dict[str, Any]]:
    """Those of a run until now, by its ``run.json``; none, and a message, if that is damaged."""
    try:
        found = from_json(path.read_bytes())
        if isinstance(found, list) and all(isinstance(one, dict) for one in found):
            return found
        why = "it is no list of processes"
    except ValueError as error:
        why = f"{error}"
    log.warning("%s is damaged (%s): the record will not say what was resumed", path, why)
    path.rename(path.with_stem(f"{path.stem}_damaged"))
    return []


def _length(path: Path) -> str:
    """Of the run of a record, for its name."""
    try:
        return f"{read_record(path)['epochs']}_epochs"
    except (ValueError, KeyError):
        return "damaged"


def arrangement(trainer: L.Trainer, columns: int) -> dict[str, int]:
    """How the network was spread: processes, their replicas of it, parts of a batch."""
    strategy, processes = trainer.strategy, trainer.world_size
    split = COLUMNS if isinstance(strategy, ColumnPipelineStrategy) else 1
    return {
        "processes": processes,
        "columns_per_process": columns // split,
        "replicas": processes // split,
        "micro_batches": getattr(strategy, "micro_batches", 1),
    }


def description(data: L.LightningDataModule, classes: int) -> dict[str, Any]:
    """What a record says of the data."""
    if isinstance(data, ImageDataModule):
        return data.description
    return {"name": type(data).__name__, "classes": classes, "images": {}}


def measured(trainer: L.Trainer, module: ImageClassifier, **stages: str) -> dict[str, Any]:
    """The errors in percent of a test, by the crops that were looked at in its stages."""
    metrics = trainer.callback_metrics
    return {
        crops: error_figures(
            float(metrics[f"{stage}/loss"]),
            {top: float(metrics[f"{stage}/{top}_error"]) for top in ("top1", "top5")},
            module.images_tested[stage],
        )
        for crops, stage in stages.items()
        if stage in module.images_tested
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
