"""Whether and how a run goes on: from which checkpoint, with which changes, in which folder."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from alexnet_repro.base.build import PACKAGE, PARTIAL, TARGET, described, leaves
from alexnet_repro.base.config import named_checkpoint
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path
from alexnet_repro.base.schema import RESULT, read_record, reason
from alexnet_repro.data.augment import AugmentOptions
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.training.checkpoint import (
    BEFORE,
    DATA,
    LAST,
    check_shapes,
    epochs_done,
    network_weights,
    read_checkpoint,
    saved_images,
    whole,
)
from alexnet_repro.training.configuration import Configuration
from alexnet_repro.training.networks import NETWORKS, make_network

log = logging.getLogger(__name__)

RUN_LOG = "run.log"

WATCHING = (
    *("record", "curve", "progress", "nonfinite", "run_folder", "interruption"),
    *("best", "last", "logged", "lr_monitor", "throughput", "device_stats"),
)
"""Callbacks of ours, and of Lightning's, that change nothing of what a run measures; some of
earlier versions, too."""

RECIPE = {
    "accumulate_grad_batches": 1,
    "gradient_clip_val": None,
    "gradient_clip_algorithm": None,
    "limit_train_batches": 1.0,
    "limit_val_batches": 1.0,
    "overfit_batches": 0.0,
    "check_val_every_n_epoch": 1,
}
"""Arguments of the Trainer that change what is trained, with what they are if not given."""

Kind = Literal["aside", "how", "grows", "named", "fixed"]

KINDS: dict[str, Kind] = {
    # Asides change nothing of what a run measures, if it ends; earlier versions had on_nonfinite.
    **dict.fromkeys(("logger", "resume", "resume_with", "skip_finished", "overwrite"), "aside"),
    **dict.fromkeys(("checkpoint_every_n_steps", "on_nonfinite", "summary"), "aside"),
    **{f"callbacks.{name}": "aside" for name in WATCHING},
    # Where and how a run computes, and when it stops, may change as it goes on.
    **dict.fromkeys(("trainer", "strategy", "fp32_precision", "compile_network"), "how"),
    **{f"data.{key}": "how" for key in ("num_workers", "cache_dir", "directory", "source.root")},
    "schedule.epochs": "grows",
    # What is trained, on what and by which rule changes only if resume_with names it.
    **dict.fromkeys(("model", "data", "augment", "optimizer", "schedule", "callbacks"), "named"),
    **dict.fromkeys(("seed", "run_name"), "named"),
    **{f"trainer.{key}": "named" for key in RECIPE},
    # A checkpoint has the state of these, or they were for the start.
    **dict.fromkeys((f"optimizer.{TARGET}", f"schedule.{TARGET}"), "fixed"),
    **dict.fromkeys(("init_from", "init_layers", "data.image_size"), "fixed"),
}
"""What becomes of a key, or of all that begin with it, that differs as a run goes on."""

LENGTH = ("schedule.epochs", "trainer.max_steps", "trainer.max_time")
"""Keys by which a run that has ended goes on, if they are not what they were."""

OF_AN_EPOCH = (
    *("data.batch_size", "data.source", "trainer.accumulate_grad_batches"),
    *("trainer.limit_train_batches", "trainer.overfit_batches"),
)
"""Keys that decide how many steps an epoch has."""

MISSING = "absent"

Change = tuple[Any, Any]


@dataclass(frozen=True)
class Start:
    """How a run starts; plain values, which one process tells the others.

    Attributes:
        directory: of the run.
        finished: the record of the same run, where it has been trained before.
        checkpoint: that it goes on from.
        left: whether anything is left to train; else it is tested.
        init_from: the checkpoint whose weights a new run begins with.
        changed: keys that ``resume_with`` let change: before and now.
        wandb: the id of its W&B run.
    """

    directory: str
    finished: str | None = None
    checkpoint: str | None = None
    init_from: str | None = None
    left: bool = True
    changed: dict[str, Any] = field(default_factory=dict)
    wandb: str | None = None


def kind_of(key: str) -> Kind:
    """That of ``model.response_norm.k`` is that of the longest of its beginnings in ``KINDS``."""
    parts = key.split(".")
    beginnings = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((KINDS[one] for one in beginnings if one in KINDS), "fixed")


def comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as other versions, too, would have recorded it.

    What is of this package goes by its public name: modules move.
    """
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            plain[key] = comparable(value)
            if key == "trainer":
                plain[key] = RECIPE | {k: v for k, v in plain[key].items() if v is not None}
        elif key == TARGET and str(value).startswith(f"{PACKAGE}."):
            plain[key] = f"{PACKAGE}.{value.rpartition('.')[2]}"
        elif key != PARTIAL:
            plain[key] = value
    return plain


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Change]]:
    """The keys of two configurations that are not the same, with both values."""
    for key in sorted(before.keys() | now.keys()):
        one, other = before.get(key, MISSING), now.get(key, MISSING)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{prefix}{key}.")
        elif one != other:
            yield f"{prefix}{key}", (one, other)


def changing(callbacks: Mapping[str, Any]) -> dict[str, Any]:
    """Those callbacks that may change a run's result: all but the ones known to watch only."""
    return {name: node for name, node in callbacks.items() if name not in WATCHING}


def same_configuration(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations train the same network on the same data, in the same way."""
    found = differences(comparable(one), comparable(other))
    return all(kind_of(key) == "aside" for key, _ in found)


def started(configuration: Configuration, directory: Path) -> Start:
    """How the run of ``configuration`` starts in ``directory``, where nothing is written yet.

    Raises:
        UsageError: if what ``resume`` names is missing, damaged or another experiment, or what
            ``init_from`` names is missing; or if the folder holds a run that this one does not go
            on with.
    """
    values = configuration.recorded()
    done = finished_run(directory, values) if configuration.skip_finished else None
    if done is not None and not _is_interrupted(directory, values):
        return Start(str(directory), finished=str(done))
    path = _checkpoint(configuration, directory)
    if path is None:
        _check_folder(configuration, directory)
        given = configuration.init_from
        first = None if given is None else str(named_checkpoint("init_from", given))
        return Start(str(directory), init_from=first)
    checkpoint = read_checkpoint(path)
    check_is_training(asked(configuration, path), checkpoint)
    left = _is_left(configuration, path, checkpoint)
    changed = _allowed(configuration, path, checkpoint, values, left)
    if changed and not left:
        raise UsageError(
            f"resume_with: {path} is fully trained, so changing {min(changed)} has no effect; "
            "raise schedule.epochs"
        )
    record = directory / RESULT
    ended = not changed and _is_of(record, path, checkpoint)
    if ended and not (left and _is_longer(record, values)):
        return Start(str(directory), finished=str(record), checkpoint=str(path))
    return Start(
        str(directory),
        checkpoint=str(path),
        left=left,
        changed=changed,
        wandb=checkpoint.get("wandb"),
    )


def _check_folder(configuration: Configuration, directory: Path) -> None:
    """Raises UsageError if a new run would write over another one, or empty more than that."""
    found = next(_of_a_run(directory), None)
    if found is None:
        return
    if not configuration.overwrite:
        raise UsageError(
            f"{directory}: already contains a run ({found.name}); resume="
            f"{_newest(directory) or 'PATH'} resumes it, and so does skip_finished=true; "
            "overwrite=true starts over, hydra.run.dir= is another folder"
        )
    if user_path(".").resolve().is_relative_to(directory.resolve()):
        raise UsageError(
            f"overwrite: {directory} is where the command was started, and may hold more than a "
            "run; choose another hydra.run.dir"
        )
    _check_that_nothing_else_is_in(directory, configuration)


def _check_that_nothing_else_is_in(directory: Path, configuration: Configuration) -> None:
    """Raises UsageError if with a run other runs would be removed, or what the new one reads."""
    for other in directory.glob("**/checkpoints/*.ckpt"):
        if other.parent.parent != directory:
            raise UsageError(
                f"overwrite: {directory} also contains the run {other.parent.parent}; "
                "choose another hydra.run.dir"
            )
    values, emptied = configuration.recorded(), directory.resolve()
    for key, value in leaves({name: values[name] for name in ("init_from", "data")}):
        if isinstance(value, str) and user_path(value).resolve().is_relative_to(emptied):
            raise UsageError(
                f"{key}={value}: it is in {directory}, which overwrite=true empties; "
                "move it, or choose another hydra.run.dir"
            )


def _checkpoint(configuration: Configuration, directory: Path) -> Path | None:
    """The one that ``resume`` or ``skip_finished`` asks for, if there is one."""
    if configuration.resume is None:
        newest = _newest(directory) if configuration.skip_finished else None
        return None if newest is None else whole(newest)
    runs = f"runs/{configuration.run_name}"
    path = whole(named_checkpoint("resume", configuration.resume, runs))
    if not path.resolve().is_relative_to(directory.resolve()) and any(_of_a_run(directory)):
        raise UsageError(
            f"hydra.run.dir={directory}: contains another run than that of resume={path}; "
            "choose an empty folder, or leave it out"
        )
    return path


def _is_interrupted(directory: Path, values: Mapping[str, Any]) -> bool:
    """Whether a run with this configuration is to be resumed in ``directory``."""
    newest = _newest(directory)
    if newest is None or (directory / RESULT).exists():
        return False
    return same_configuration(read_checkpoint(whole(newest))["config"], values)


def _newest(directory: Path) -> Path | None:
    written = (directory / "checkpoints" / name for name in (LAST, BEFORE))
    return next(filter(Path.is_file, written), None)


def _of_a_run(directory: Path) -> Iterator[Path]:
    """What a run has computed, in its folder."""
    yield from filter(Path.is_file, (directory / RESULT,))
    yield from sorted((directory / "checkpoints").glob("*.ckpt"))


def empty(directory: Path) -> None:
    """Remove what a run left in ``directory``, but for its messages."""
    if not any(_of_a_run(directory)):
        return
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != RUN_LOG:
            path.unlink()


def asked(configuration: Configuration, path: Path) -> str:
    """What a run goes on from, by the key that asks for it."""
    return f"skip_finished=true: {path}" if configuration.resume is None else f"resume={path}"


def check_is_training(given: str, checkpoint: Mapping[str, Any]) -> None:
    """Raises UsageError if a checkpoint holds weights alone."""
    if missing := {"loops", "callbacks", "optimizer_states"} - checkpoint.keys():
        raise UsageError(
            f"{given}: it holds weights but no training state (no {min(missing)}); "
            "start from them with init_from="
        )


def _allowed(
    configuration: Configuration,
    path: Path,
    checkpoint: Mapping[str, Any],
    values: Mapping[str, Any],
    left: bool,
) -> dict[str, Change]:
    """The changes of the trained function or the recipe, all of which ``resume_with`` names.

    Raises:
        UsageError: naming the others; or keys of ``resume_with`` that there are not; or if the
            weights are not those of the network.
    """
    now = comparable(values)
    before = _with_defaults_of(values, comparable(checkpoint["config"]))
    length = of_a_length(configuration)
    found = {
        key: change
        for key, change in differences(before, now)
        if _matters(key, change) or key in length
    }
    named = configuration.resume_with or []
    for key in named:
        if not any(_begins(other, key) for other in dict([*leaves(before), *leaves(now)])):
            raise UsageError(f"resume_with: there is no key {key}")
    given = asked(configuration, path)
    if of_model := {key: change for key, change in found.items() if key.startswith("model.")}:
        _check_network(f"{given} with {_told(of_model)}", configuration, path, checkpoint)
    fixed = [key for key, change in found.items() if _is_fixed(key, change, configuration)]
    refused = {
        key: change
        for key, change in found.items()
        if key in fixed or not any(_begins(key, one) for one in named)
    }
    if refused:
        keeps = any(_begins(key, one) for key in refused for one in length)
        why = f" ({configuration.schedule[TARGET]} keeps its length)" if keeps else ""
        elsewhere = "" if configuration.resume else " in another hydra.run.dir"
        may = left and refused.keys().isdisjoint(fixed)
        go_on = f", or allow it with resume_with=[{','.join([*named, *refused])}]" if may else ""
        raise UsageError(
            f"{given}: this would change the experiment: {_told(refused)}{why}; restore what it "
            f"was, start a new run from these weights with init_from={path}{elsewhere}{go_on}"
        )
    return found


def _is_fixed(key: str, change: Change, configuration: Configuration) -> bool:
    """Whether ``resume_with`` cannot allow a change."""
    # The state of a scheduler of torch holds its arguments, and what a checkpoint names is not
    # built to see what it was.
    of_torch = key.startswith("schedule.") and not configuration.schedule_is_callback
    names = key.startswith("optimizer.") and TARGET in f"{key} {change}"
    own = kind_of(key) == "fixed" or (of_torch and kind_of(key) == "named")
    return own or names or any(_begins(key, one) for one in of_a_length(configuration))


def _told(changes: Mapping[str, Change]) -> str:
    return ", ".join(f"{k} {_shown(one)} → {_shown(other)}" for k, (one, other) in changes.items())


def _check_network(
    given: str, configuration: Configuration, path: Path, checkpoint: Mapping[str, Any]
) -> None:
    """Check a network of this package against a checkpoint before any images are prepared."""
    if DATA not in checkpoint or configuration.model[TARGET] not in NETWORKS:
        return
    classes = configuration.model.get("num_classes") or len(saved_images(path, checkpoint).classes)
    with torch.device("meta"):
        network = make_network(configuration.model, classes, configuration.data.get("input_size"))
    check_weights(given, checkpoint, network)


def of_a_length(configuration: Configuration) -> tuple[str, ...]:
    """Keys that make a training as long as a scheduler of torch, by its state, takes it to be."""
    if configuration.schedule_is_callback:
        return ()
    options, whole = configuration.scheduling, bool(configuration.lengths)
    by_steps = options.interval == "step" and (whole or options.warmup_epochs > 0)
    return (*(["schedule.epochs"] if whole else []), *(OF_AN_EPOCH if by_steps else ()))


def _matters(key: str, change: Change) -> bool:
    kind, (before, now) = kind_of(key), change
    if kind == "grows":
        return not (isinstance(before, int) and isinstance(now, int) and now >= before)
    return kind in ("named", "fixed")


def _with_defaults_of(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """``before`` with the defaults of what ``now`` names: an older version had fewer arguments.

    What a checkpoint names is not looked up.
    """
    filled = {key: before.get(key, {} if key == "callbacks" else None) for key in now}
    return {key: _filled(now[key], value, key) for key, value in filled.items()}


def _filled(now: Any, before: Any, key: str) -> Any:
    if not (isinstance(now, Mapping) and isinstance(before, Mapping)):
        return before
    usual = asdict(AugmentOptions()) if key == "augment" else {}
    if TARGET in now:
        usual = described({TARGET: now[TARGET]}, key)
    new = {k: v for k, v in now.items() if k not in before and usual.get(k, MISSING) == v}
    return new | {k: _filled(now.get(k), v, f"{key}.{k}") for k, v in before.items()}


def shared_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that all processes of a run need alike: not what each reads from, nor what it tells."""

    def shared(key: str) -> bool:
        own = kind_of(key) == "how" and key.startswith("data.")
        # A checkpoint is saved by all of them.
        return key == "checkpoint_every_n_steps" or not (own or kind_of(key) == "aside")

    return {key: value for key, value in leaves(values) if shared(key)}


def _begins(key: str, beginning: str) -> bool:
    return f"{key}.".startswith(f"{beginning}.")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _is_left(configuration: Configuration, path: Path, checkpoint: Mapping[str, Any]) -> bool:
    """Whether there is more to train than a checkpoint has been.

    Raises:
        UsageError: if it has been trained for more epochs than there are to be.
    """
    done, epochs = epochs_done(checkpoint), configuration.trainer["max_epochs"]
    if epochs < done:
        raise UsageError(
            f"schedule.epochs={epochs}: {path} has been trained for {done} epochs; choose "
            f"schedule.epochs={done} or more"
        )
    steps = configuration.trainer.get("max_steps", -1)
    return bool(epochs > done and not 0 <= steps <= checkpoint["global_step"])


def _is_of(record: Path, path: Path, checkpoint: Mapping[str, Any]) -> bool:
    """Whether a record is that of the weights in ``path``."""
    beside = path.resolve().parents[1] == record.parent.resolve()
    return beside and record.is_file() and _read(record).get("epochs") == epochs_done(checkpoint)


def _is_longer(record: Path, values: Mapping[str, Any]) -> bool:
    """Whether a run is to be longer, or shorter, than its record says."""
    return any(key in LENGTH for key, _ in differences(_read(record).get("config") or {}, values))


def _read(record: Path) -> dict[str, Any]:
    try:
        return read_record(record)
    except (OSError, ValueError) as error:
        raise UsageError(f"{record}: {reason(error)}; move it out of the folder") from error


def check_classes(given: str, path: Path, data: Any) -> None:
    """Raises UsageError if ``path`` has other classes than ``data``, which need not be prepared."""
    checkpoint = read_checkpoint(path)
    # A data module of somebody else's may leave nothing of its own in a checkpoint.
    there = list(saved_images(path, checkpoint).classes) if DATA in checkpoint else []
    here = list(getattr(data, "classes", ()))
    if there != here and there and here:
        raise UsageError(
            f"{given}: its {len(there)} classes are not the {len(here)} of the data; resume on the "
            "same data, or start from its weights with init_from="
        )


def check_resume(given: str, path: Path, network: nn.Module, data: Any) -> None:
    """Raises UsageError unless the training of ``network`` on ``data`` can go on from ``path``."""
    checkpoint = read_checkpoint(path)
    if isinstance(data, ImageDataModule) and DATA in checkpoint:
        there, here = saved_images(path, checkpoint).mean_image, data.state_dict()["mean_image"]
        # Images that were decoded elsewhere may differ in the last bits.
        if not torch.allclose(there, here, 0, 1):
            raise UsageError(
                f"{given}: it was trained on other images than those of the data, by their mean; "
                "resume on the same ones, or start from its weights with init_from="
            )
    check_weights(given, checkpoint, network)


def check_weights(given: str, checkpoint: Mapping[str, Any], network: nn.Module) -> None:
    """Raises UsageError unless the weights of a checkpoint are those of ``network``."""
    found, own = network_weights(checkpoint), network.state_dict()
    check_shapes(given, found, own, sorted(found.keys() | own.keys()))


def finished_run(directory: Path, values: Mapping[str, Any]) -> Path | None:
    """The record of a run with this configuration in ``directory`` or in a folder beside it.

    The jobs of a sweep lie beside each other, under other numbers where the sweep has been changed.
    """
    for path in sorted(directory.parent.glob(f"*/{RESULT}")):
        try:
            if same_configuration(read_record(path).get("config") or {}, values):
                return path
        except (OSError, ValueError) as error:
            log.warning("%s is skipped: %s", path, reason(error))
    return None


def best_validation_error(path: Path) -> float | None:
    """The least top-1 error in percent on the validation images in the curve of a record.

    None if there is no record, as of a run of one batch.
    """
    if not path.is_file():
        return None
    rows = (row.get("val/top1_error") for row in _read(path).get("curve", ()))
    return min((error for error in rows if error is not None), default=100.0)
