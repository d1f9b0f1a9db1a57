"""The Lightning data module: prepared images in, normalized batches on the device out."""

import atexit
import functools
import logging
import math
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_convert

from alexnet_repro.base.build import Count, Natural, Pixels, Seed, checks_arguments
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path
from alexnet_repro.base.system import usable_cores
from alexnet_repro.data.augment import PAPER, Augmentation, AugmentOptions, drawn_from
from alexnet_repro.data.prepare import cached
from alexnet_repro.data.preprocess import Orientation
from alexnet_repro.data.reader import EpochOrder, SharedBatches, TrainingCrops, WholeImages
from alexnet_repro.data.remote import local_copy
from alexnet_repro.data.sources import EXPECTED, Source
from alexnet_repro.data.store import Store, StoredAs, open_store

log = logging.getLogger(__name__)


def batches_done(trainer: L.Trainer) -> int:
    """Batches of the epoch within which a run resumes that were trained on before; else 0."""
    done: int = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return done if within_an_epoch(trainer) else 0


def within_an_epoch(trainer: L.Trainer) -> bool:
    """Whether training is, or resumes, between the ends of two epochs."""
    progress: Any = trainer.fit_loop.epoch_progress.current
    return bool(progress.started > progress.processed)


SHARED = Path("/dev/shm")
"""Where readers leave what they have read: each holds two batches."""
HANGS = 600.0
"""Seconds for a batch after which a reader hangs."""


@functools.cache
def readers_with_room(readers: int, batch: int) -> int:
    """As many of ``readers`` as have room for their batches, of so many bytes, in shared memory."""
    if not SHARED.is_dir():
        return readers
    # Half of it is for those that read validation images, and two batches are in use.
    room = max(0, (shutil.disk_usage(SHARED).free // 2 // batch - 2) // 2)
    if room < readers:
        log.warning(
            "%s has room for the batches of %d processes that read images, not of %d "
            "(docker run --shm-size gives more)",
            SHARED,
            room,
            readers,
        )
    return min(room, readers)


def _heed_its_parent(worker: int) -> None:
    """Leave a signal that is sent to all processes of a run to the first one, which ends the rest.

    It saves before it ends, and needs its workers for that. A worker that torch means to end gets
    SIGTERM more than once.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


@functools.cache
def _end_workers_at_exit() -> None:
    """Have the workers that are left end with this process.

    Python would send each a single SIGTERM, which they ignore, and wait.
    """

    def kill() -> None:
        # Torch's handler raises for each worker that is killed, at whatever this process does then.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for process in multiprocessing.active_children():
            if process.daemon:
                process.kill()

    atexit.register(kill)


WORKERS_PER_CORE = 8
"""Workers are processes: many more take minutes to start, and wait for each other."""


def workers_for(training_on_cpu: bool) -> int:
    """Worker processes that fit this machine.

    Reading crops from a memory map takes a worker a few milliseconds a batch. On a CPU that
    trains, every core is busy for seconds a batch: a worker would only take turns with it.
    """
    return 0 if training_on_cpu else min(8, max(1, usable_cores() - 1))


class ImageDataModule(L.LightningDataModule):
    """Images prepared as in §3, augmented and viewed as in §5.1.

    Training batches hold ``image`` (B, 3, input, input) float, RGB 0–255 minus the mean, and
    ``label`` (B,). Evaluation batches hold ``label`` and ``views``, an iterator over one view (val)
    or ten (test), each (B, 3, input, input), the centre first.

    Args:
        name: of the data set, for cache and records.
        source: the labelled images, prepared into a store under ``cache_dir`` the first time.
        directory: a store that ``alexnet_repro.prepare`` made, or its URI in object storage; then
            ``source`` is not read.
        cache_dir: folder of prepared stores.
        max_damaged: images that cannot be read and may be left out.
        exif_orientation: ``ignore`` or ``apply`` (see :func:`preprocess.shorter_side_and_centre`).
        image_size, crop_size, input_size: pixels; §3 and §5.1: 256, 224 and 224.
        batch_size: images per step, of all replicas of the network together.
        num_workers: reader processes; None for what fits the machine.
        augment: how training images are varied.
        seed: of order and augmentation.

    Raises:
        UsageError: if there is neither ``source`` nor ``directory``, or crops are larger than what
            they are cut from.
    """

    @checks_arguments
    def __init__(
        self,
        name: str = "images",
        source: Callable[[], Source] | None = None,
        directory: Annotated[str, Field(min_length=1)] | None = None,
        cache_dir: Annotated[str, Field(min_length=1)] = "~/.cache/alexnet_repro",
        max_damaged: Natural = 0,
        exif_orientation: Orientation = "ignore",
        image_size: Pixels = 256,
        crop_size: Pixels = 224,
        input_size: Pixels = 224,
        batch_size: Count = 128,
        num_workers: Natural | None = None,
        augment: AugmentOptions = PAPER,
        seed: Seed = 0,
    ) -> None:
        super().__init__()
        if source is None and directory is None:
            raise UsageError(
                "data=prepared: add data.directory=… (what prepare wrote); in Python, directory= "
                "or source="
            )
        if crop_size > image_size:
            raise UsageError(
                f"data.crop_size={crop_size}: stored images have only "
                f"data.image_size={image_size} pixels a side"
            )
        most = WORKERS_PER_CORE * usable_cores()
        if num_workers is not None and num_workers > most:
            raise UsageError(
                f"data.num_workers={num_workers}: at most {most}, {WORKERS_PER_CORE} for each core "
                "of this machine; null takes as many as fit"
            )
        self.dataset_name, self.seed = name, seed
        self.image_size, self.crop_size, self.input_size = image_size, crop_size, input_size
        self.batch_size, self.num_workers = batch_size, num_workers
        self.augment = augment
        self._source, self.cache_dir = source, user_path(cache_dir)
        self._directory = directory
        self._max_damaged, self._exif_orientation = max_damaged, exif_orientation
        self._position = 0
        self._ahead = (-1, 0)
        self.tests_training_images = False

    def prepare_data(self) -> None:
        """Make the store if it is not there yet, and check that it can be trained on.

        Raises:
            UsageError: see :func:`prepare.prepare`; or if there are no training or validation
                images, or fewer for training than a batch holds.
        """
        if not {"train", "val"} <= self.listed.splits.keys():
            there = " and ".join(self.listed.splits)
            raise UsageError(
                f"data: {self.dataset_name} has only {there} images; training needs {EXPECTED}"
            )
        if (images := len(self.store.splits["train"])) < self.batch_size:
            raise UsageError(
                f"data.batch_size={self.batch_size}: the training set has only {images} images"
            )

    @cached_property
    def listed(self) -> Source | Store:
        """Where classes and images can be looked up before anything is prepared."""
        if self._directory is not None:
            return self._opened(self._directory)
        assert self._source is not None
        source = self._source()
        if not isinstance(source, Source):
            raise UsageError(f"data.source: it makes no Source, but {type(source).__name__}")
        return source

    @cached_property
    def store(self) -> Store:
        """The prepared images, made if they are not there yet (see :func:`prepare.prepare`)."""
        if isinstance(self.listed, Store):
            return self.listed
        stored_as = StoredAs(self.image_size, exif_orientation=self._exif_orientation)
        return cached(self.listed, stored_as, self.cache_dir, self.dataset_name, self._max_damaged)

    def _opened(self, given: str) -> Store:
        remote = "://" in given
        directory = local_copy(given, self.cache_dir) if remote else user_path(given)
        if not directory.is_dir():
            raise UsageError(
                f"data.directory={directory}: there is no such folder; "
                "python -m alexnet_repro.prepare makes one"
            )
        store = open_store(directory)
        if store.stored_as.image_size != self.image_size:
            raise UsageError(
                f"data.image_size={self.image_size}, but {given} holds images of "
                f"{store.stored_as.image_size} pixels"
            )
        return store

    @property
    def classes(self) -> tuple[str, ...]:
        return self.listed.classes

    @property
    def test_split(self) -> str:
        """``test``, or ``val`` where the set has no labelled test images."""
        return "test" if "test" in self.store.splits else "val"

    @property
    def description(self) -> dict[str, Any]:
        """What a record says of the data."""
        return {
            "name": self.dataset_name,
            "store": self.store.directory.name,
            "classes": len(self.classes),
            "images": {name: len(split) for name, split in self.store.splits.items()},
        }

    @cached_property
    def augmentation(self) -> Augmentation:
        return Augmentation(self.store.statistics, self.crop_size, self.input_size, self.augment)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        split = self.store.splits["train"]
        order = EpochOrder(len(split), self.seed)
        loader = self._loader(
            TrainingCrops(split, self.crop_size, self.seed, self.augment),
            order,
            self._trains_on_cpu,
            drop_last=True,
        )
        if self.trainer is not None:
            # Lightning counts epochs and batches, and leaves it to us to begin where it resumes.
            # Workers begin to read before it sets the epoch.
            progress: Any = self.trainer.fit_loop.epoch_progress.current
            order.set_epoch(progress.processed)
            done = batches_done(self.trainer)
            images = self._position if within_an_epoch(self.trainer) else 0
            self._ahead = (order.epoch, images - done * self.batch_size)
            loader.batch_sampler.begin_at(order.epoch, images)  # type: ignore[union-attr]
        return loader

    def training_names(self, epoch: int, batch: int) -> list[str]:
        """Of the images of a whole batch, as the source calls them; both counted from 0."""
        split = self.store.splits["train"]
        order = EpochOrder(len(split), self.seed)
        order.set_epoch(epoch)
        first = self._images_before(epoch, batch)
        return [split.name(index) for _, _, index in islice(order, first, first + self.batch_size)]

    def _images_before(self, epoch: int, batch: int) -> int:
        resumed, ahead = self._ahead
        return batch * self.batch_size + (ahead if epoch == resumed else 0)

    def go_on_after(self, images: int) -> int:
        """Begin an epoch after so many of its images, whatever size their batches had.

        Returns:
            The batches that are taken for done: those of a whole epoch less those that are left.
        """
        self._position, total = images, len(self.store.splits["train"])
        return total // self.batch_size - max(1, (total - images) // self.batch_size)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return self.whole_images("val", self._trains_on_cpu)

    def test_dataloader(self) -> Any:
        """The test images; with ``tests_training_images`` set, also as many of the training images.

        Their errors, too, are then those of whole images and without dropout, so the difference is
        what the network overfits.
        """
        loader = self.whole_images(self.test_split, self._trains_on_cpu)
        if not self.tests_training_images:
            return loader
        limit = len(self.store.splits[self.test_split])
        return [loader, self.whole_images("train", self._trains_on_cpu, limit)]

    def whole_images(
        self, split: str, on_cpu: bool, limit: int | None = None
    ) -> DataLoader[dict[str, Tensor]]:
        """The stored images of a split as they are, in order; at most ``limit``, evenly spaced.

        Raises:
            UsageError: if there is no such split, or it has fewer images than there are replicas,
                of which some would have nothing to count.
        """
        if split not in self.store.splits:
            raise UsageError(
                f"split={split}: {self.dataset_name} has {', '.join(self.store.splits)} only"
            )
        images, replicas = self.store.splits[split], self.share[1]
        if len(images) < replicas:
            raise UsageError(
                f"trainer.devices: {replicas} replicas, but {self.dataset_name} has only "
                f"{len(images)} {split} images; choose fewer devices"
            )
        count = min(len(images), limit or len(images))
        indices = [i * len(images) // count for i in range(count)]
        return self._loader(WholeImages(images), indices, on_cpu)

    @property
    def _trains_on_cpu(self) -> bool:
        return self.trainer is None or self.trainer.strategy.root_device.type == "cpu"

    @property
    def share(self) -> tuple[int, int]:
        """Which share of every batch this process reads, of how many: its replica's."""
        strategy = None if self.trainer is None else self.trainer.strategy
        shares = getattr(strategy, "distributed_sampler_kwargs", {"rank": 0, "num_replicas": 1})
        return shares["rank"], shares["num_replicas"]

    def _loader(
        self,
        dataset: Dataset[Any],
        sampler: Sampler[Any] | Sequence[int],
        on_cpu: bool,
        drop_last: bool = False,
    ) -> DataLoader[dict[str, Tensor]]:
        workers = workers_for(on_cpu) if self.num_workers is None else self.num_workers
        share = math.ceil(self.batch_size / self.share[1])
        workers = readers_with_room(workers, share * 3 * self.image_size**2)
        if workers:
            _end_workers_at_exit()
        return DataLoader(
            dataset,
            batch_sampler=SharedBatches(sampler, self.batch_size, drop_last, *self.share),
            num_workers=workers,
            collate_fn=default_convert,
            pin_memory=not on_cpu,
            persistent_workers=workers > 0,
            timeout=HANGS if workers else 0,
            worker_init_fn=_heed_its_parent,
        )

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        assert self.trainer is not None
        augmentation = self.augmentation.to(batch["image"].device)
        in_precision = self.trainer.precision_plugin.convert_input
        if self.trainer.training:
            image, label = batch.pop("image"), batch.pop("label")
            view = augmentation.training_view(image, **batch)
            if self.augment.mixup:
                view, label = self._mixed(view, label)
            # Where weights are of another precision, the Trainer converts what it reads, before.
            return {"image": in_precision(view), "label": label}
        ten = self.trainer.testing and dataloader_idx == 0
        views = augmentation.test_views(batch["image"], "ten" if ten else "centre")
        return {"views": map(in_precision, views), "label": batch["label"]}

    def _mixed(self, images: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Images mixed with others of their batch, and the shares of the classes (B, classes)."""
        # Seconds to import.
        from torchvision.transforms.v2 import MixUp

        assert self.trainer is not None
        batch = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        with drawn_from(self.seed, self.trainer.current_epoch, batch):
            mixed: tuple[Tensor, Tensor] = MixUp(
                alpha=self.augment.mixup, num_classes=len(self.classes)
            )(images, label)
        return mixed

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to classify new images, and to go on within an epoch: plain
        values and tensors only.
        """
        statistics, words, position = self.store.statistics, self.store.words, 0
        if self.trainer is not None and (done := batches_done(self.trainer)):
            position = self._images_before(self.trainer.current_epoch, done)
        return {
            "position": position,
            "classes": list(self.classes),
            "words": None if words is None else list(words),
            "image_size": self.image_size,
            "crop_size": self.crop_size,
            "input_size": self.input_size,
            "mean_image": torch.tensor(statistics.mean_image, dtype=torch.float32),
            "eigenvalues": torch.tensor(statistics.eigenvalues),
            "eigenvectors": torch.tensor(statistics.eigenvectors),
        }
