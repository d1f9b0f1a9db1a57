"""Reading a store: which images a batch holds, and the random crops that are cut while reading."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset, Sampler

from alexnet_repro.data.augment import AugmentOptions, draw, drawn_from
from alexnet_repro.data.store import StoredSplit

Key = tuple[int, int, int]
"""(epoch, position in the epoch's order, index of the image): all that a crop depends on."""
Batch = dict[str, npt.NDArray[Any]]


class EpochOrder(Sampler[Key]):
    """A new order of the training images for every epoch, a function of (seed, epoch)."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return ((self.epoch, position, int(index)) for position, index in enumerate(order))


class SharedBatches(Sampler[list[Any]]):
    """Batches of a sampler's keys; with several replicas of the network, one replica's share.

    A batch is that of one process whatever the number of replicas: share r is the r-th of as many
    consecutive parts.

    Args:
        sampler: the keys, in order.
        batch_size: keys of a whole batch.
        drop_last: leave out a last batch that is not whole.
        replica, replicas: which share of how many. Of a last batch with fewer keys than replicas
            some get none.
    """

    def __init__(
        self,
        sampler: Sampler[Any] | Sequence[Any],
        batch_size: int,
        drop_last: bool = False,
        replica: int = 0,
        replicas: int = 1,
    ) -> None:
        self.sampler, self.replica, self.replicas = sampler, replica, replicas
        self.batch_size, self.drop_last = batch_size, drop_last
        self.first = (-1, 0)

    def begin_at(self, epoch: int, keys: int) -> None:
        """Leave out the first keys of that epoch, which were trained on before."""
        self.first = (epoch, keys)

    def __len__(self) -> int:
        keys = len(self.sampler)  # type: ignore[arg-type]
        last = 0 if self.drop_last else keys % self.batch_size
        return keys // self.batch_size + (self.replica < last)

    def __iter__(self) -> Iterator[list[Any]]:
        epoch, done = self.first
        begin = done if epoch == getattr(self.sampler, "epoch", 0) else 0
        rest = islice(iter(self.sampler), begin, None)
        # Where batches have grown within an epoch, the rest may be less than one.
        whole = len(self.sampler) - begin >= self.batch_size  # type: ignore[arg-type]
        for keys in BatchSampler(rest, self.batch_size, self.drop_last and whole):
            if share := np.array_split(np.arange(len(keys)), self.replicas)[self.replica].tolist():
                yield [keys[i] for i in share]


class TrainingCrops(Dataset[Batch]):
    """Random crops, cut out while reading; a batch at a time."""

    def __init__(
        self, split: StoredSplit, crop_size: int, seed: int, options: AugmentOptions
    ) -> None:
        self.split, self.crop_size, self.seed, self.options = split, crop_size, seed, options
        self._resized_crop = None
        if options.random_crop and options.resized_crop is not None:
            # Seconds to import.
            from torchvision.transforms.v2 import RandomResizedCrop

            self._resized_crop = RandomResizedCrop(crop_size, (options.resized_crop, 1.0))

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        epochs, positions, indices = np.array(keys, dtype=np.int64).T
        margin, size = self.split.size - self.crop_size, self.crop_size
        draws = draw(self.seed, int(epochs[0]), indices, positions, margin, self.options)
        crops = np.empty((len(keys), size, size, 3), dtype=np.uint8)
        for crop, index, (top, left) in zip(crops, indices, draws.offset, strict=True):
            crop[:] = self._cut(int(epochs[0]), int(index), top, left)
        return {"image": crops, "label": self.split.labels[indices], **vars(draws)}

    def _cut(self, epoch: int, index: int, top: int, left: int) -> npt.NDArray[np.uint8]:
        image, size = self.split.image(index), self.crop_size
        if self._resized_crop is None:
            return image[top : top + size, left : left + size]
        with drawn_from(self.seed, epoch, index):
            crop: Tensor = self._resized_crop(torch.tensor(image).permute(2, 0, 1))
        return crop.permute(1, 2, 0).numpy()


class WholeImages(Dataset[Batch]):
    """Stored images as they are, for evaluation; a batch at a time."""

    def __init__(self, split: StoredSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        images = np.stack([self.split.image(i) for i in indices])
        return {"image": images, "label": self.split.labels[list(indices)]}
