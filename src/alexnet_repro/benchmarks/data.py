"""How fast images are prepared, read and augmented, beside what a training step takes."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alexnet_repro import AlexNet
from alexnet_repro.benchmarks.report import Measured
from alexnet_repro.benchmarks.step import fastest_device, train_once
from alexnet_repro.benchmarks.timing import Contender, interleaved
from alexnet_repro.cores import usable_cores
from alexnet_repro.data.augment import PAPER, Augmentation, draw
from alexnet_repro.data.manifest import StoredAs
from alexnet_repro.data.parallel import on_all_cores
from alexnet_repro.data.preparation import prepare
from alexnet_repro.data.preprocess import shorter_side_and_centre
from alexnet_repro.data.reader import Key, TrainingCrops
from alexnet_repro.data.sources import Source, Split, folder, miniature
from alexnet_repro.data.store import Store, open_store
from alexnet_repro.learning.sgd import PaperSGD
from alexnet_repro.memory import keep_freed_memory

SIZE, CROP = 256, 224
JPEG = StoredAs(SIZE, "jpeg", 95)
RAW = StoredAs(SIZE)


def data(
    images: str | None,
    longer_side: int | None,
    stored_images: int,
    batch_size: int,
    rounds: int,
    slow_rounds: int,
) -> Iterator[Measured]:
    """Preparing on all cores, reading crops on one, and augmenting beside a training step.

    Args:
        images: a folder tree of photographs, or None for the rendered miniature set.
        longer_side: pixels to which they are rescaled before anything is measured; None for none.
        stored_images: images of the stores, repeated from those of ``images``.
        batch_size: images per batch.
        rounds: of reading and augmenting.
        slow_rounds: of preparing and of training steps.
    """
    keep_freed_memory()  # as training does
    # Stores come and go here: what is said of each would bury the tables.
    logging.getLogger("alexnet_repro.data").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as temporary:
        top = Path(temporary)
        root = Path(images).expanduser() if images else top / "miniature" / "seed0"
        source = folder(images) if images else miniature(str(top / "miniature"), seed=0)
        if longer_side is not None:
            root = _rescaled(root, longer_side, top / "rescaled")
            source = folder(str(root))
        yield _preparing(source, stored_images, top, slow_rounds)
        stores = {encoding: open_store(top / encoding) for encoding in ("raw", "jpeg")}
        yield _reading(stores, root / "train", batch_size, rounds)
        yield _augmenting(stores["raw"], batch_size, rounds, slow_rounds)


def _rescaled(root: Path, longer_side: int, to: Path) -> Path:
    """The images of a folder tree with that longer side, as JPEG of quality 95."""
    for path in sorted(p for split in ("train", "val") for p in (root / split).glob("*/*")):
        target = (to / path.relative_to(root)).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            ratio = longer_side / max(image.size)
            size = (round(image.width * ratio), round(image.height * ratio))
            image.convert("RGB").resize(size).save(target, quality=95)
    return to


def _repeated(source: Source, count: int) -> Source:
    """The training images of ``source``, repeated until there are ``count``; two for ``val``."""
    train = source.splits["train"]
    original = len(train.names)
    repeated = Split(
        names=[train.names[i % original] for i in range(count)],
        labels=[train.labels[i % original] for i in range(count)],
        open=lambda i: train.open(i % original),
    )
    few = Split(train.names[:2], train.labels[:2], train.open)
    return Source(source.classes, {"train": repeated, "val": few}, source.fingerprint)


def _preparing(source: Source, count: int, top: Path, rounds: int) -> Measured:
    repeated, cores = _repeated(source, count), usable_cores()
    train = repeated.splits["train"]
    share = range(0, count, cores)

    def decode_and_rescale(i: int) -> None:
        with train.open(i) as image:
            shorter_side_and_centre(image, SIZE)

    def on_one() -> None:
        for i in share:
            decode_and_rescale(i)

    def work(claim: Callable[[], int]) -> Iterator[None]:
        while (i := claim()) < count:
            decode_and_rescale(i)
        yield

    def preparing(name: str, stored_as: StoredAs) -> Contender:
        directory = top / stored_as.encoding
        return Contender(
            name,
            lambda: prepare(repeated, stored_as, directory),
            count,
            before=lambda: shutil.rmtree(directory, ignore_errors=True),
        )

    one, all_, raw, jpeg = interleaved(
        [
            Contender("decode and rescale, one process", on_one, len(share)),
            Contender(
                f"decode and rescale, {cores} processes",
                lambda: list(on_all_cores(work, cores)),
                count,
            ),
            preparing("prepare, raw", RAW),
            preparing("prepare, JPEG", JPEG),
        ],
        rounds,
    )
    sizes = [train.open(i).size for i in range(0, count, max(1, count // 64))]
    return Measured(
        f"Preparing {count} images on {cores} cores",
        [timing.row(all_) for timing in (one, all_, raw, jpeg)],
        {
            "ratio to": all_.name,
            "median size of the images, pixels": "×".join(
                str(int(side)) for side in np.median(sizes, axis=0)
            ),
            **{
                f"{t.name}: share of {cores} times one process": round(
                    t.times_faster_than(one) / cores, 3
                )
                for t in (all_, raw, jpeg)
            },
        },
    )


def _reading(stores: dict[str, Store], root: Path, batch_size: int, rounds: int) -> Measured:
    from torchvision import transforms as T
    from torchvision.datasets import ImageFolder

    random = np.random.default_rng(0)

    def crops(store: Store) -> Callable[[], object]:
        dataset = TrainingCrops(store.splits["train"], CROP, 0, PAPER)
        return lambda: dataset.__getitems__(_keys(random, len(dataset), batch_size))

    def image_folder(*geometry: object) -> Callable[[], object]:
        transform = T.Compose([*geometry, T.RandomHorizontalFlip(), T.PILToTensor()])
        dataset = ImageFolder(str(root), transform)
        return lambda: [dataset[i] for i in random.integers(len(dataset), size=batch_size)]

    for store in stores.values():
        # As after the first epoch: in the page cache, and mapped.
        for image in store.splits["train"].images():
            image.reshape(-1)[::4096].sum()
    with _one_core():
        timings = interleaved(
            [
                Contender("raw store", crops(stores["raw"]), batch_size),
                Contender("JPEG store", crops(stores["jpeg"]), batch_size),
                Contender(
                    "ImageFolder, RandomResizedCrop",
                    image_folder(T.RandomResizedCrop(CROP)),
                    batch_size,
                ),
                Contender(
                    "ImageFolder, Resize 256, RandomCrop",
                    image_folder(T.Resize(SIZE), T.RandomCrop(CROP)),
                    batch_size,
                ),
            ],
            rounds,
        )
    sizes = {
        f"bytes an image, {name} store": round(
            sum(shard.bytes for split in store.splits.values() for shard in split.shards)
            / sum(map(len, store.splits.values()))
        )
        for name, store in stores.items()
    }
    return Measured(
        f"Random {CROP}×{CROP} crops in batches of {batch_size} on one core, after a first epoch",
        [timing.row(timings[2]) for timing in timings],
        {"ratio to": timings[2].name, **sizes},
    )


def _keys(random: np.random.Generator, images: int, batch_size: int) -> list[Key]:
    return [(0, i, int(index)) for i, index in enumerate(random.integers(images, size=batch_size))]


@contextmanager
def _one_core() -> Iterator[None]:
    """Run on one core, where the system can be told so, and on one thread everywhere."""
    threads = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    torch.set_num_threads(1)
    if cores is not None:
        os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if cores is not None:
            os.sched_setaffinity(0, cores)


def _augmenting(store: Store, batch_size: int, rounds: int, slow_rounds: int) -> Measured:
    device = fastest_device()
    split = store.splits["train"]
    keys = _keys(np.random.default_rng(0), len(split), batch_size)
    read = TrainingCrops(split, CROP, 0, PAPER).__getitems__(keys)
    batch = {name: tensor.to(device) for name, tensor in read.items()}
    augmentation = Augmentation(store.statistics, CROP, CROP)
    view = augmentation.to(device).training_view
    draws = batch["offset"], batch["reflect"], batch["colour"]
    indices = np.arange(batch_size)

    network = AlexNet(len(store.classes)).to(memory_format=torch.channels_last).to(device)
    optimizer = PaperSGD(network.parameters())
    images = view(batch["image"], *draws)

    def step(fast: bool) -> Callable[[], object]:
        return lambda: train_once(network, optimizer, images, batch["label"], fast)

    quick = interleaved(
        [
            Contender("flip, colour, mean", lambda: view(batch["image"], *draws), batch_size),
            Contender(
                "draws (in the reader)",
                lambda: draw(0, 0, indices, indices, SIZE - CROP),
                batch_size,
            ),
        ],
        rounds,
    )
    slow = interleaved(
        [
            Contender("training step, performance=exact", step(fast=False), batch_size),
            Contender("training step, performance=fast", step(fast=True), batch_size),
        ],
        slow_rounds,
    )
    return Measured(
        f"Augmenting a batch of {batch_size} on the device ({device.type})",
        [timing.row() for timing in (*quick, *slow)],
        {
            f"flip, colour, mean: percent of a {step.name}": round(
                100 * quick[0].median / step.median, 2
            )
            for step in slow
        },
    )
