"""One training run: build its parts, train, test."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
from hydra.core.hydra_config import HydraConfig
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from torch import nn

from alexnet_repro.base.config import checkpoint_to_resume, resolved, sweep_name
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.system import keep_freed_memory
from alexnet_repro.columns.exchange import between_processes
from alexnet_repro.columns.launch import end_with_launcher, launch, must_launch
from alexnet_repro.network.structure import print_summary
from alexnet_repro.training.checkpoint import (
    best_validation_error,
    check_resume,
    finished_run,
    interrupted_run,
    start_from,
    whole,
)
from alexnet_repro.training.configuration import Configuration
from alexnet_repro.training.device import set_fp32_precision
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
from alexnet_repro.training.record import RESULT, description
from alexnet_repro.training.sweep import found

log = logging.getLogger(__name__)


def train(config: DictConfig) -> float | None:
    """Train and test what ``config`` describes; callbacks write its record.

    Returns:
        The least top-1 error in percent on the validation images, for a search to minimize; None
        where there is no record.

    Raises:
        UsageError: for what the user can put right.
    """
    configuration = Configuration.of(resolved(config))
    if configuration.summary:
        print_summary(configuration.model)
        return None
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    search = hydra.runtime.choices.get("sweep")
    if search and not sweep_name(hydra.mode, str(directory)):
        raise UsageError(f"sweep={search}: a search is many runs: add -m")
    if configuration.skip_finished and (done := finished_run(directory, configuration.recorded())):
        log.info("skipped: it has been trained, see %s", done)
        found[directory] = done
        return best_validation_error(done)
    resume = checkpoint_to_go_on_with(configuration, directory)

    prepare_process(configuration)
    launches = must_launch(configuration.trainer)
    trainer = None if launches else make_trainer(configuration, directory)
    data = make_data(configuration)
    classes = number_of_classes(configuration.model, data)
    if trainer is None:
        columns = configuration.processes // configuration.replicas
        launch(configuration.processes, columns, hydra.overrides.task, directory)
        return best_validation_error(directory / RESULT)
    network = make_network(configuration.model, classes, getattr(data, "input_size", None))
    start(configuration, network, tuple(getattr(data, "classes", ())), resume)
    scheduler = None if configuration.schedule_is_callback else make_scheduler(configuration)
    optimizer = make_optimizer(configuration.optimizer)
    module = ImageClassifier(network, classes, optimizer, configuration.seed, scheduler)

    dataset = description(data, classes)
    images = dataset["images"]
    told = f": {images['train']} training images" if images else ""
    log.info("%s on %s%s", configuration.run_name, dataset["name"], told)
    log.info("writing to %s", directory)
    with told_in_one_line():
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
        trainer.test(module, data, verbose=False)
    if trainer.is_global_zero and not trainer.fast_dev_run and not (directory / RESULT).is_file():  # type: ignore[attr-defined]
        log.warning("there is no record, since nothing was tested")
    # What quieten_libraries keeps it from saying itself.
    if trainer.is_global_zero and (profile := trainer.profiler.summary()):  # type: ignore[attr-defined]
        log.info("%s", profile)
    return best_validation_error(directory / RESULT) if trainer.is_global_zero else None


def checkpoint_to_go_on_with(configuration: Configuration, directory: Path) -> Path | None:
    """The one that ``resume`` or ``skip_finished`` asks for, if there is one.

    Raises:
        UsageError: if what ``resume`` names is missing or damaged.
    """
    path = configuration.resume and checkpoint_to_resume(
        configuration.resume, configuration.run_name
    )
    if not path and configuration.skip_finished:
        path = interrupted_run(directory, configuration.recorded())
    return whole(path) if path else None


def start(
    configuration: Configuration, network: nn.Module, names: tuple[str, ...], resume: Path | None
) -> None:
    """Check ``resume`` against the network, or copy the weights of ``init_from`` into it."""
    if resume:
        check_resume(resume, network, names)
    if configuration.init_from is not None and resume:
        log.info("resume goes on with weights of its own: init_from was for the start")
    elif configuration.init_from is not None:
        path = Path(configuration.init_from).expanduser()
        start_from(path, network, names, configuration.init_layers)


def prepare_process(configuration: Configuration) -> None:
    """Seed and settings of this process.

    Raises:
        UsageError: if GPUs are asked for that this machine does not have.
    """
    quieten_libraries()
    end_with_launcher()
    check_accelerator(configuration.trainer)
    set_fp32_precision(configuration.fp32_precision)
    if on_cpu(configuration.trainer):
        keep_freed_memory()
    L.seed_everything(configuration.seed, workers=True, verbose=False)


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Raises a UsageError for what the Trainer refuses, or a process that another one lost."""
    try:
        yield
    except MisconfigurationException as error:
        raise UsageError(f"trainer: {' '.join(str(error).split())}") from error
    except ValueError as error:
        if "parameter group" not in str(error):
            raise
        raise UsageError(
            f"resume: the checkpoint is of another optimizer ({error}); optimizer= has to be that "
            "of the run, or start from its weights with init_from="
        ) from error
    except RuntimeError as error:
        if "conditioned on metric" in str(error):
            raise UsageError(f"callbacks: {' '.join(str(error).split())}") from error
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
