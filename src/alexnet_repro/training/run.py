"""One training run: build its parts, train, test."""

import json
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from alexnet_repro.base.config import is_first, sweep_name
from alexnet_repro.base.errors import UsageError, first_line, one_line
from alexnet_repro.base.record import provenance
from alexnet_repro.base.schema import RESULT
from alexnet_repro.base.system import keep_freed_memory
from alexnet_repro.columns.exchange import between_processes
from alexnet_repro.columns.launch import launch, must_launch
from alexnet_repro.columns.together import together
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.network.structure import print_summary
from alexnet_repro.training.checkpoint import start_from
from alexnet_repro.training.configuration import Configuration
from alexnet_repro.training.device import compile_network, set_fp32_precision
from alexnet_repro.training.loggers import finish
from alexnet_repro.training.module import ImageClassifier
from alexnet_repro.training.networks import make_network
from alexnet_repro.training.parts import (
    check_accelerator,
    make_data,
    make_optimizer,
    make_scheduler,
    make_trainer,
    number_of_classes,
    on_cpu,
)
from alexnet_repro.training.record import description
from alexnet_repro.training.resuming import (
    Start,
    asked,
    best_validation_error,
    check_resume,
    empty,
    shared_keys,
    started,
)
from alexnet_repro.training.sweep import found

log = logging.getLogger(__name__)

LONG = 30
"""Epochs that nobody trains on the rendered images but by mistake."""


def train(values: Mapping[str, Any]) -> float | None:
    """Train and test what a configuration describes; callbacks write its record.

    Returns:
        The least top-1 error in percent on the validation images, for a search to minimize; None
        where there is no record.

    Raises:
        UsageError: for what the user can put right.
    """
    with together() as processes:
        configuration = Configuration.of(values)
        if configuration.summary:
            print_summary(configuration.model)
            return None
        directory = own_folder()
        launches = must_launch(configuration.trainer)
        with processes.alone_in(directory):

            def decide() -> dict[str, Any]:
                start = started(configuration, directory)
                if processes.count > 1 and start.finished is None:
                    prepare_data(configuration, start)
                return asdict(start)

            start = Start(**processes.decided(decide))
            if start.finished is not None:
                processes.agree({})  # the first process, which holds what it decided, leaves last
                return finished(Path(start.finished), start, directory)
            if launches:
                return launched(configuration, start)
            run = Run.of(configuration, start)
            processes.agree(run.identity)
            return run.trained()


def own_folder() -> Path:
    """Where this run writes.

    Raises:
        UsageError: if it is a search, but not of several runs.
    """
    hydra = HydraConfig.get()
    search, directory = hydra.runtime.choices.get("sweep"), hydra.runtime.output_dir
    # The others of several processes are not told by Hydra what they are part of.
    if search and is_first() and not sweep_name(hydra.mode, directory):
        raise UsageError(f"sweep={search}: a search is many runs: add -m")
    return Path(directory)


def finished(record: Path, start: Start, directory: Path) -> float | None:
    """What a run that was trained before comes to."""
    if start.checkpoint is None:
        log.info("skipped: already trained, see %s", record)
    else:
        log.info(
            "nothing left to train: %s is its record; raise schedule.epochs to train on", record
        )
    found[directory] = record
    return best_validation_error(record)


def prepare_data(configuration: Configuration, start: Start) -> None:
    """Have images prepared for other processes, which cannot say how far that is."""
    prepare_process(configuration)
    number_of_classes(configuration.model, make_data(configuration, start))


def launched(configuration: Configuration, start: Start) -> float | None:
    """Have processes of their own train, which find the images prepared."""
    prepare_data(configuration, start)
    columns = configuration.processes // configuration.replicas
    overrides, directory = HydraConfig.get().overrides.task, Path(start.directory)
    with chdir(HydraConfig.get().runtime.cwd):  # paths of the overrides are relative to it
        launch(configuration.processes, columns, overrides, directory, json.dumps(asdict(start)))
    return best_validation_error(directory / RESULT)


def stand_in(configuration: Configuration, data: str) -> str | None:
    """What to say of a long run on the rendered images, which nobody may have meant."""
    epochs = configuration.schedule.get("epochs", 0)
    if data != "miniature" or epochs < LONG:
        return None
    return (
        f"miniature is a rendered stand-in: for photographs use data=imagenette or data=folder "
        f"source=IMAGES; {epochs} epochs of the full network take hours on a CPU, "
        f"experiment=[small,{configuration.run_name}] minutes"
    )


@dataclass(frozen=True)
class Run:
    """What trains, built and checked; nothing is written yet."""

    configuration: Configuration
    start: Start
    trainer: L.Trainer
    data: L.LightningDataModule
    module: ImageClassifier

    @classmethod
    def of(cls, configuration: Configuration, start: Start) -> "Run":
        """The parts of a run.

        Raises:
            UsageError: for what the user can put right.
        """
        prepare_process(configuration)
        trainer = make_trainer(configuration, start)
        data = make_data(configuration, start)
        classes = number_of_classes(configuration.model, data)
        network = make_network(configuration.model, classes, getattr(data, "input_size", None))
        first_weights(configuration, network, data, start)
        if configuration.compile_network:
            compile_network(network, on_cpu(configuration.trainer))
        scheduler = None if configuration.schedule_is_callback else make_scheduler(configuration)
        optimizer = make_optimizer(configuration.optimizer)
        smoothing = configuration.augment.get("label_smoothing", 0.0)
        seed = configuration.seed
        module = ImageClassifier(network, classes, optimizer, seed, scheduler, smoothing)
        return cls(configuration, start, trainer, data, module)

    @property
    def dataset(self) -> dict[str, Any]:
        return description(self.data, self.module.hparams["num_classes"])

    @property
    def identity(self) -> dict[str, Any]:
        """What all processes of a run have to have in common."""
        code = provenance("alexnet_repro.train")
        same = {name: code[name] for name in ("commit", "version", "packages")}
        return same | {"data": self.dataset} | shared_keys(self.configuration.recorded())

    def trained(self) -> float | None:
        """Train, unless nothing is left of it, and test.

        Returns:
            As :func:`train`.
        """
        directory, trainer = Path(self.start.directory), self.trainer
        images = self.dataset["images"]
        told = f": {images['train']} training images" if images else ""
        log.info("%s on %s%s", self.configuration.run_name, self.dataset["name"], told)
        if rendered := stand_in(self.configuration, self.dataset["name"]):
            log.info("%s", rendered)
        log.info("writing to %s", directory)
        if self.configuration.overwrite and trainer.is_global_zero:
            empty(directory)
        with told_in_one_line():
            self._fit_and_test(self.start.checkpoint)
        if not trainer.is_global_zero:
            return None
        if not trainer.fast_dev_run and not (directory / RESULT).is_file():  # type: ignore[attr-defined]
            log.warning("no record, since nothing was tested")
        # What quieten_libraries keeps it from saying itself.
        if profile := trainer.profiler.summary():  # type: ignore[attr-defined]
            log.info("%s", profile)
        return best_validation_error(directory / RESULT)

    def _fit_and_test(self, checkpoint: str | None) -> None:
        if isinstance(self.data, ImageDataModule):
            self.data.tests_training_images = True
        if self.start.left:
            self.trainer.fit(self.module, self.data, ckpt_path=checkpoint, weights_only=True)
            checkpoint = None  # the weights are those of now
        else:
            log.info("nothing left to train: tested")
        self.trainer.test(
            self.module, self.data, ckpt_path=checkpoint, weights_only=True, verbose=False
        )


def first_weights(
    configuration: Configuration, network: nn.Module, data: Any, start: Start
) -> None:
    """Check the checkpoint against the network, or copy the weights of ``init_from`` into it."""
    if start.checkpoint is not None:
        path = Path(start.checkpoint)
        check_resume(asked(configuration, path), path, network, data)
        if configuration.init_from is not None:
            log.info("resuming: the weights are those of the checkpoint, not of init_from")
    elif start.init_from is not None:
        classes = tuple(getattr(data, "classes", ()))
        start_from(Path(start.init_from), network, classes, configuration.init_layers)


def prepare_process(configuration: Configuration) -> None:
    """Seed and settings of this process.

    Raises:
        UsageError: if GPUs are asked for that this machine does not have.
    """
    quieten_libraries()
    check_accelerator(configuration.trainer)
    set_fp32_precision(configuration.fp32_precision)
    if on_cpu(configuration.trainer):
        keep_freed_memory()
    L.seed_everything(configuration.seed, workers=True, verbose=False)


PLACES = {
    "torch/optim/": "optimizer",
    "alexnet_repro/training/sgd.py": "optimizer",
    "alexnet_repro/network/": "data",
}
"""Where what a part of the configuration brings about is found out, within a step."""


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Raises a UsageError for what the Trainer refuses, or a process that another one lost."""
    try:
        yield
    except MisconfigurationException as error:
        raise UsageError(f"trainer: {one_line(error)}") from error
    except (RuntimeError, ValueError, ConnectionError, EOFError) as error:
        frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if "conditioned on metric" in str(error):
            raise UsageError(f"callbacks: {one_line(error)}") from error
        for place, key in PLACES.items():
            if place in frames[-1]:
                raise UsageError(f"{key}: {one_line(error)}") from error
        # One that was killed while it sent a batch is a connection that ends.
        sending = isinstance(error, ConnectionError | EOFError) and any(
            Path(frame).name == "dataloader.py" for frame in frames
        )
        if "DataLoader" in str(error) or sending:
            raise UsageError(
                f"data.num_workers: a data worker failed ({first_line(error)}); "
                "fewer need less memory, and 0 reads in the training process"
            ) from error
        if lost := between_processes(error):
            raise lost from error
        raise
    finally:
        finish()


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
