"""Checkpoints: written whole, read without running anything, gone on from, started from.

A checkpoint may come from anybody: its tensors and plain values are read, nothing in it is run. Its
configuration is checked like that of a command, and only networks of this package are built, or
those that the user names again or trusts. ``torch.save`` keeps a CRC-32 of every tensor in the
file, as any zip archive does, and ``torch.load`` does not look at them: here they are compared, or
a flipped bit would be trained on.
"""

import json
import logging
import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

import lightning as L
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import (
    Checkpoint,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import WandbLogger
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from alexnet_repro.base.build import Pixels, checked
from alexnet_repro.base.errors import PrunedError, UsageError, first_line, one_line
from alexnet_repro.base.files import all_of, sync_folder, unreadable
from alexnet_repro.base.schema import first_mistake
from alexnet_repro.data.augment import Augmentation, AugmentOptions
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.data.statistics import Statistics
from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.training.networks import NETWORKS, READS, built, foreign, reads

log = logging.getLogger(__name__)

LAST, BEFORE, BEST, AVERAGED = "last.ckpt", "before_last.ckpt", "best.ckpt", "averaged.ckpt"
"""Of a run: its newest checkpoint, the one that this replaced, the one with the least validation
error, and an average that was tested."""


def last_checkpoint(directory: Path) -> Path:
    """Of the run in ``directory``."""
    return directory / "checkpoints" / LAST


class CheckpointFile(TorchCheckpointIO):
    """How Lightning writes checkpoints: in the background, one at a time, while training goes on.

    Its own way writes to the system's temporary folder and moves the file from there: where that is
    another file system, a move is a copy, and a copy can be torn. Here the file is written beside
    its place, forced to the disk and renamed. What ``last.ckpt`` was stays as ``before_last.ckpt``.
    Where it was saved at the same step, ``best.ckpt`` is the same file.
    """

    _under_way: ClassVar[Future[None] | None] = None

    def __init__(self) -> None:
        self._newest: tuple[Any, Path] | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Begin to write ``path``, as ``checkpoint`` is now.

        Raises:
            UsageError: if the one before it could not be written.
        """
        place, step = Path(path), checkpoint.get("global_step")
        best = place.with_name(BEST)
        fill: Callable[[Path], None]
        if place.name == LAST and self._newest == (step, best):
            fill = partial(_name_again, best)
        else:
            self.wait()
            fill = partial(_save, deepcopy(checkpoint))
        self._newest = step, place
        pool = ThreadPoolExecutor(1)
        CheckpointFile._under_way = pool.submit(_write, place, fill, self._under_way)
        pool.shutdown(wait=False)

    @classmethod
    def wait(cls) -> None:
        """Until what is under way is on the disk.

        Raises:
            UsageError: if the disk is full or cannot be written; the file is as it was.
        """
        under_way, CheckpointFile._under_way = cls._under_way, None
        if under_way is not None:
            under_way.result()

    def load_checkpoint(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        self.wait()
        return super().load_checkpoint(*arguments, **named)

    def teardown(self) -> None:
        self.wait()


def _write(place: Path, fill: Callable[[Path], None], before: Future[None] | None) -> None:
    """Have ``fill`` write the file of ``place``, once ``before`` is done."""
    if before is not None:
        before.result()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        for left in place.parent.glob(f".{place.name}-*"):  # by a process that was killed
            left.unlink()
        with all_of(place) as unfinished:
            fill(unfinished)
            if place.name == LAST and place.exists():
                _name_again(place, place.with_name(BEFORE))
        sync_folder(place.parent)
    except (OSError, RuntimeError) as error:
        # torch tells of a failed write in words of its own, on top of what the system said.
        if (reason := _system_error(error)) is None:
            raise
        raise UsageError(
            f"{place}: cannot be written ({reason.strerror}); "
            + (
                f"the file is as it was; make room and resume with resume={place.with_name(LAST)}"
                if place.with_name(LAST).exists()
                else "make room, or choose another folder with hydra.run.dir="
            )
        ) from error


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        torch.save(checkpoint, file)


def _name_again(written: Path, path: Path) -> None:
    """Have a file under a second name, too."""
    path.unlink(missing_ok=True)
    try:
        os.link(written, path)
    except OSError:  # a file system without hard links
        shutil.copyfile(written, path)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _system_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


LARGEST_PICKLE = 2**24
"""Bytes of a checkpoint besides its tensors: twenty thousand classes take one million."""


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, or None if every part is as its checksum says.

    Raises:
        UsageError: if the system does not let it be read.
    """
    if path.suffix == ".safetensors":
        return None  # what reads it says
    try:
        with zipfile.ZipFile(path) as archive:
            # torch compresses nothing; what is compressed may grow without end.
            infos = archive.infolist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                return "it holds compressed parts, which torch does not write"
            # All but the tensors: reading millions of names takes a minute.
            if any(i.file_size > LARGEST_PICKLE for i in infos if i.filename.endswith(".pkl")):
                return f"it holds more than {LARGEST_PICKLE >> 20} MiB besides tensors"
            changed = archive.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError) as error:
        if told := unreadable(error, path):
            raise told from error
        return str(error) or type(error).__name__
    except (EOFError, RuntimeError, OverflowError) as error:
        return f"it breaks off: {error!r}"
    return None if changed is None else f"{changed} differs from its checksum"


def whole(path: Path) -> Path:
    """``path`` if it is whole; else the checkpoint before it, if that is.

    Raises:
        UsageError: if neither is.
    """
    if (reason := damage(path)) is None:
        return path
    before = path.with_name(BEFORE)
    if path.name == LAST and before.is_file() and damage(before) is None:
        log.warning("%s: damaged (%s); resuming from the one before it, %s", path, reason, before)
        return before
    raise UsageError(
        f"{path}: damaged ({reason}), and there is none before it; start over without resume or "
        "skip_finished"
    )


FORMAT = 2
"""Of the checkpoints that are written. Those of format 1 do not say so, and hold the same."""

DATA, NETWORK = "ImageDataModule", "network."
NOTHING: Mapping[str, Any] = MappingProxyType({})
READING_ERRORS = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode and the classes that it tells apart.

    Attributes:
        path: of the checkpoint.
        network: views (B, 3, input, input) → logits (B, classes).
        views: stored images (B, image_size, image_size, 3) uint8 → views, by ``test_views``.
        image_size: pixels a side of stored images.
        classes: their names, in the order of their labels.
        words: what each class is, if the training set said so.
        epoch: epochs that the network was trained for.
        config: of the training run.
    """

    path: Path
    network: nn.Module
    views: Augmentation
    image_size: int
    classes: tuple[str, ...]
    words: tuple[str, ...] | None
    epoch: int
    config: dict[str, Any]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors and plain values of a checkpoint, which stay on disk until they are used.

    Raises:
        UsageError: if it is missing, damaged, or not a checkpoint that this package reads.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such checkpoint")
    if path.suffix == ".safetensors":
        return _exported(path)
    if (reason := damage(path)) is not None:
        raise UsageError(f"{path}: not a checkpoint, or a damaged one ({reason})")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        told = f"{path}: not a checkpoint: it holds more than tensors and plain values"
        raise UsageError(told) from error
    except READING_ERRORS as error:
        told = f"{path}: not a checkpoint, or a damaged one ({first_line(error)})"
        raise UsageError(told) from error
    parts = checkpoint if isinstance(checkpoint, dict) else {}
    if missing := {"config", "state_dict"} - parts.keys():
        raise UsageError(
            f"{path}: not a checkpoint of alexnet_repro.train (it has no {min(missing)}); "
            "load_from_checkpoint takes one of another Trainer if it is given network="
        )
    if (written_as := checkpoint.get("format", 1)) not in range(1, FORMAT + 1):
        raise UsageError(
            f"{path}: a checkpoint of format {written_as}; this version reads up to {FORMAT}, "
            "update alexnet_repro"
        )
    return _checked_parts(path, checkpoint)


class SavedConfig(BaseModel):
    """Of the configuration in a checkpoint, what is read without a check of its own."""

    model_config = ConfigDict(strict=True)

    model: dict[str, Any]
    data: dict[str, Any]
    augment: dict[str, Any] = {}


class OptimizerState(BaseModel):
    model_config = ConfigDict(strict=True)

    state: dict[Any, Any]
    param_groups: list[dict[str, Any]]


class Contents(BaseModel):
    """Of a checkpoint, which may come from anybody: its parts, as far as training reads them."""

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)

    config: SavedConfig
    state_dict: dict[str, Any]
    epoch: int = 0
    global_step: int = 0
    loops: dict[str, dict[str, Any]] = {}
    callbacks: dict[str, dict[str, Any]] = {}
    optimizer_states: Annotated[list[OptimizerState], Field(min_length=1)] = []
    lr_schedulers: list[dict[str, Any]] = []
    ImageDataModule: dict[str, Any] = {}
    # By it Lightning migrates what an earlier version of it wrote.
    lightning: str = Field("0", alias="pytorch-lightning_version", pattern=r"^\d[\w.+]*$")

    @field_validator("state_dict")
    @classmethod
    def _tensors(cls, found: dict[str, Any]) -> dict[str, Any]:
        for name, value in found.items():
            # A module may keep more than tensors in a part of its own.
            if not isinstance(value, torch.Tensor) and not name.endswith("_extra_state"):
                raise ValueError(f"{name} is no tensor")
        return found


def _checked_parts(path: Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    wrong = f"{path}: not a checkpoint, or a damaged one"
    try:
        Contents.model_validate(checkpoint)
        if "loops" in checkpoint and not isinstance(epochs_done(checkpoint), int):
            raise TypeError
    except ValidationError as error:
        raise UsageError(f"{wrong} ({': '.join(first_mistake(error))})") from error
    except (LookupError, TypeError) as error:
        raise UsageError(f"{wrong} (its loops do not say how far it was trained)") from error
    return checkpoint


def _exported(path: Path) -> dict[str, Any]:
    """What ``alexnet export safetensors`` wrote, as a checkpoint that training cannot resume.

    Raises:
        UsageError: if it is damaged, or was written by another program.
    """
    try:
        tensors = load_file(path)
        said = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))
        keys = ("classes", "words", "image_size", "crop_size", "input_size")
        parts = {
            "state_dict": {name: w for name, w in tensors.items() if name.startswith(NETWORK)},
            "config": said["config"],
            "epoch": said["epochs"] - 1,
            DATA: {
                **{key: said[key] for key in keys},
                "mean_image": tensors["mean_image"],
                # Only for noise that is added in training.
                "eigenvalues": torch.zeros(3),
                "eigenvectors": torch.eye(3),
            },
        }
    except (SafetensorError, TypeError, *READING_ERRORS) as error:
        raise UsageError(
            f"{path}: not what alexnet export safetensors writes, or damaged ({error})"
        ) from error
    return _checked_parts(path, parts)


def epochs_done(checkpoint: Mapping[str, Any]) -> int:
    """Whole epochs that were trained before a checkpoint was saved."""
    done: int = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    return done


def network_weights(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Of a checkpoint, by the names that the network itself gives them."""
    return {
        name.removeprefix(NETWORK): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(NETWORK)
    }


class SavedImages(BaseModel):
    """What an :class:`ImageDataModule` leaves in a checkpoint, which may come from anybody."""

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)

    classes: Sequence[str]
    words: Sequence[str] | None = None
    image_size: Pixels
    crop_size: Pixels
    input_size: Pixels
    mean_image: torch.Tensor
    eigenvalues: torch.Tensor
    eigenvectors: torch.Tensor

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        sides = self.image_size, self.image_size
        shapes = {"mean_image": (*sides, 3), "eigenvalues": (3,), "eigenvectors": (3, 3)}
        for name, shape in shapes.items():
            if (found := tuple(getattr(self, name).shape)) != shape:
                raise ValueError(f"{name} is {found}, not {shape}")
        if self.crop_size > self.image_size:
            raise ValueError(f"crop_size is {self.crop_size}, image_size {self.image_size}")
        if self.words is not None and len(self.words) != len(self.classes):
            raise ValueError(f"{len(self.words)} words for {len(self.classes)} classes")
        return self


def saved_images(path: Path, checkpoint: Mapping[str, Any]) -> SavedImages:
    """Raises UsageError if they cannot be right."""
    try:
        return SavedImages.model_validate(checkpoint[DATA])
    except ValidationError as error:
        place, said = first_mistake(error)
        raise UsageError(f"{path}: its {place or 'images'} cannot be right ({said})") from error


def load_trained(
    path: Path,
    device: torch.device | str = "cpu",
    model: Mapping[str, Any] = NOTHING,
    trust: str | None = None,
) -> Trained:
    """The trained network of a checkpoint, on ``device``.

    A network that is not of this package is built only if the caller says so, in one of two ways.

    Args:
        model: the node of such a network named again, ``{"_target_": "package.Network"}``; what it
            leaves out is as in the checkpoint.
        trust: the package of such a network, ``torchvision``: the checkpoint may name any function
            or class of it.

    Raises:
        UsageError: if the file cannot be read, or its parts do not fit together.
    """
    checkpoint = read_checkpoint(path)
    if DATA not in checkpoint:
        raise UsageError(
            f"{path}: it has neither classes nor mean image, since its data module is not an "
            "ImageDataModule; resume takes it, and ImageClassifier.load_from_checkpoint"
        )
    config, weights = checkpoint["config"], network_weights(checkpoint)
    images = saved_images(path, checkpoint)
    try:
        if not any(w.shape[:1] == (len(images.classes),) for w in weights.values()):
            raise UsageError(f"its weights are not of {len(images.classes)} classes")
        network = _network(config["model"], images, weights, model, trust)
        network.load_state_dict(weights)
        if not all(parameter.isfinite().all() for parameter in network.parameters()):
            raise UsageError("its weights are not all finite: training diverged")
        views = _views(config["augment"], images)
        return Trained(
            path=path,
            network=network.to(device).to(memory_format=torch.channels_last).eval(),
            views=views.to(device).eval(),
            image_size=images.image_size,
            classes=tuple(images.classes),
            words=None if images.words is None else tuple(images.words),
            epoch=epochs_done(checkpoint) if "loops" in checkpoint else checkpoint["epoch"] + 1,
            config=config,
        )
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: its parts do not fit together ({error!r})") from error
    except (ValueError, ArithmeticError) as error:
        raise UsageError(f"{path}: its configuration is not valid ({error})") from error
    except RuntimeError as error:
        told = f"{path}: its weights are not those of its network ({one_line(error)})"
        raise UsageError(told) from error


def _network(
    model: dict[str, Any],
    images: SavedImages,
    weights: Mapping[str, torch.Tensor],
    named: Mapping[str, Any],
    trust: str | None,
) -> nn.Module:
    classes, size = len(images.classes), images.input_size
    if model.get("_target_") not in NETWORKS:
        return foreign(model, classes, size, named, trust)
    if named:
        raise UsageError(
            f"model.{next(iter(named))}: the checkpoint says itself what its network is, "
            f"{model['_target_']}; leave it out"
        )
    if not reads(NETWORKS[model["_target_"]], model, size):
        raise UsageError(f"its input_size cannot be right ({READS}, not {size}×{size})")
    # Whether it is the network of these weights is known before it takes any memory.
    with torch.device("meta"):
        built(model, classes).load_state_dict(weights, assign=True)
    return built(model, classes)


def paper_network(trained: Trained) -> AlexNet:
    """The network, if it has the layers of the paper.

    Raises:
        UsageError: if it is another one, kept for comparison.
    """
    if isinstance(trained.network, AlexNet):
        return trained.network
    raise UsageError(
        f"{trained.path}: its network is {type(trained.network).__name__}, which does not have the "
        "layers of the paper; evaluate, predict and export take it"
    )


def _views(augment: dict[str, Any], images: SavedImages) -> Augmentation:
    options = AugmentOptions(**checked(AugmentOptions, augment, "augment"))
    arrays = (images.mean_image, images.eigenvalues, images.eigenvectors)
    statistics = Statistics(*(array.double().numpy() for array in arrays))
    return Augmentation(statistics, images.crop_size, images.input_size, options)


class RunFolder(Checkpoint):
    """Keeps the configuration in every checkpoint and says how to go on after an interruption.

    As a ``Checkpoint`` it comes after all other callbacks, whose state is then that after the step.

    Between the ends of epochs, which :class:`WholeEpochs` looks after, it saves ``last.ckpt`` every
    ``every_n_steps`` steps, and where ``trainer.max_steps`` ends the training.

    Args:
        directory: of the run.
        config: its configuration, with all defaults.
        every_n_steps: None: only at the end of each epoch.
    """

    def __init__(self, directory: Path, config: dict[str, Any], every_n_steps: int | None) -> None:
        self.last, self.config = last_checkpoint(directory), config
        self.every_n_steps = every_n_steps
        self._saved = 0
        self._trains = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._trains = True

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        # The end of an epoch is saved after its validation.
        n, step = self.every_n_steps, trainer.global_step
        due = n is not None and step % n == 0
        # A step on several batches is one.
        if (due or step == trainer.max_steps) and step != self._saved and not trainer.is_last_batch:
            self._saved = step
            trainer.save_checkpoint(self.last)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # It averages when the last epoch is saved: otherwise no file would hold what is tested.
        if any(isinstance(c, StochasticWeightAveraging) for c in trainer.callbacks):  # type: ignore[attr-defined]
            trainer.save_checkpoint(self.last.with_name(AVERAGED))

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["config"] = self.config
        checkpoint["format"] = FORMAT
        # They may be objects of any kind, and a checkpoint is read for plain values only.
        checkpoint.pop(L.LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY, None)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, ImageDataModule):
            # Lightning calls it by its class, which may be one that inherits from ours.
            checkpoint[DATA] = checkpoint.pop(type(data).__qualname__)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                checkpoint["wandb"] = logger.version

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """What was trained on of an epoch is a number of images, in batches of whichever size."""
        data, loop = trainer.datamodule, checkpoint["loops"]["fit_loop"]  # type: ignore[attr-defined]
        epoch, batch = (
            loop[f"{name}_progress"]["current"] for name in ("epoch", "epoch_loop.batch")
        )
        if not isinstance(data, ImageDataModule) or not batch["ready"]:
            return
        size: int = checkpoint["config"]["data"]["batch_size"]
        if epoch["started"] > epoch["processed"]:
            done = data.go_on_after(checkpoint[DATA].get("position", batch["ready"] * size))
        elif size != data.batch_size:
            done = len(data.store.splits["train"]) // data.batch_size
        else:
            return
        later = done - batch["ready"]
        batch |= {stage: batches + later for stage, batches in batch.items()}

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, PrunedError) or not self._trains:
            return
        CheckpointFile.wait()
        if self.last.exists():
            log.info(
                "interrupted; to resume, add resume=%s to the same command",
                self.last,
            )
        elif isinstance(exception, KeyboardInterrupt | SystemExit):
            log.info("interrupted before the first checkpoint")


class WholeEpochs(ModelCheckpoint):
    """Saves at the end of an epoch, unless ``trainer.max_steps`` cut the epoch short.

    Lightning goes through the end of such an epoch as if it were whole; saved there, a resumed run
    would pass over the rest of it.

    Args:
        dirpath: folder of the checkpoints.
        filename: without its extension.
        monitor: the metric of which the least is kept; None for the newest.
    """

    def __init__(self, dirpath: Path, filename: str, monitor: str | None = None) -> None:
        super().__init__(
            dirpath,
            filename=filename,
            monitor=monitor,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        # In checkpoints it goes by the name that it always had.
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)


CLASSIFIER = "fc8"


@torch.no_grad()
def start_from(
    path: Path, network: nn.Module, classes: Sequence[str], layers: Sequence[str] | None
) -> None:
    """Copy the weights of a checkpoint into ``network``, and say which layers kept their own.

    Layers that the checkpoint does not have stay as they were drawn, and so does fc8 unless the
    checkpoint tells the same classes apart, in the same order.

    Args:
        classes: of the data that the network is trained on.
        layers: those to copy, such as conv1; None for all.

    Raises:
        UsageError: if the checkpoint cannot be read, a layer has another shape, or there is no
            such layer.
    """
    checkpoint = read_checkpoint(path)
    found = network_weights(checkpoint)
    own = dict(network.named_parameters())
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in own))
    if unknown := set(layers or ()) - set(names):
        raise UsageError(
            f"init_layers: the network has no layer {min(unknown)}; it has {', '.join(names)}"
        )
    same_classes = DATA in checkpoint and tuple(saved_images(path, checkpoint).classes) == tuple(
        classes
    )
    taken = [
        layer
        for layer in names
        if f"{layer}.weight" in found
        and (layers is None or layer in layers)
        and (layer != CLASSIFIER or same_classes)
    ]
    if not taken:
        raise UsageError(f"init_from={path}: none of its layers is one of this network")
    copied = [name for name in own if name.rpartition(".")[0] in taken]
    check_shapes(f"init_from={path}", found, own, copied)
    for name in copied:
        own[name].copy_(found[name])
    drawn = [layer for layer in names if layer not in taken]
    log.info(
        "from %s: %s; newly initialized: %s", path, ", ".join(taken), ", ".join(drawn) or "none"
    )


def check_shapes(
    given: str, found: Mapping[str, Any], own: Mapping[str, Any], names: Iterable[str]
) -> None:
    """Raises UsageError unless weights that were found have the shapes of the network's own."""
    for name in names:
        there, here = (
            "×".join(map(str, weights[name].shape)) if name in weights else "missing"
            for weights in (found, own)
        )
        if there != here:
            raise UsageError(
                f"{given}: its {name} is {there}, that of this network {here}; the keys of model "
                "must be those of the checkpoint"
            )
