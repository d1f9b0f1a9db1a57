"""How fast images are prepared, read and augmented, beside what a training step takes."""

import argparse
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from alexnet_repro import AlexNet
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.system import keep_freed_memory, usable_cores
from alexnet_repro.data.augment import PAPER, Augmentation
from alexnet_repro.data.prepare import prepare
from alexnet_repro.data.preprocess import shorter_side_and_centre
from alexnet_repro.data.reader import TrainingCrops
from alexnet_repro.data.sources import folder, miniature
from alexnet_repro.data.store import Store, StoredAs, open_store
from alexnet_repro.training.sgd import PaperSGD
from measuring import Measured, in_turn, positive, run, seconds
from step import DEVICE, Step

SIZE, CROP = 256, 224


def data(
    images: str | None, longer_side: int | None, stored_images: int, batch_size: int, rounds: int
) -> Iterator[Measured]:
    """Preparing on all cores, reading crops on one, and augmenting beside a training step."""
    keep_freed_memory()  # as training does
    # Stores come and go here: what is said of each would bury the tables.
    logging.getLogger("alexnet_repro.data").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as temporary:
        top = Path(temporary)
        if images is None:
            miniature(str(top), seed=0)
        given = top / "seed0" if images is None else Path(images).expanduser()
        root = repeated(given, stored_images, longer_side, top / "images")
        yield preparing(root, top, rounds)
        stores = {encoding: open_store(top / encoding) for encoding in ("raw", "jpeg")}
        yield reading(stores, root, batch_size, rounds)
        yield augmenting(stores["raw"], batch_size, rounds)


def repeated(given: Path, count: int, longer_side: int | None, root: Path) -> Path:
    """A tree of ``count`` training images, by links to those of ``given``, and one for ``val``.

    With ``longer_side`` the links are to JPEG of quality 95 with so many pixels there.
    """
    originals = sorted((given / "train").glob("*/*"))
    if not originals:
        raise UsageError(f"--images {given}: there are no images {given}/train/CLASS/*")
    originals = originals[:: max(1, len(originals) // count)]  # of all classes
    files: list[Path] = []
    for number in range(count):
        original = originals[number % len(originals)].resolve()
        file = root / "train" / original.parent.name / f"{number:07}{original.suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number >= len(originals):
            file.symlink_to(files[number % len(originals)])
        elif longer_side is None:
            file.symlink_to(original)
        else:
            file = file.with_suffix(".jpg")
            with Image.open(original) as image:
                ratio = longer_side / max(image.size)
                size = (round(image.width * ratio), round(image.height * ratio))
                image.convert("RGB").resize(size).save(file, quality=95)
        files.append(file)
    validation = root / "val" / files[0].parent.name
    validation.mkdir(parents=True)
    (validation / files[0].name).symlink_to(files[0])
    return root


class Decoded(Dataset[int]):
    """Decodes and rescales, as the preparation does, and keeps nothing."""

    def __init__(self, root: Path) -> None:
        self.files = sorted((root / "train").glob("*/*"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> int:
        with Image.open(self.files[index]) as image:
            return len(shorter_side_and_centre(image, SIZE))


def preparing(root: Path, top: Path, rounds: int) -> Measured:
    """Two stores, in ``top``, beside decoding and rescaling alone."""
    source, images, cores = folder(str(root)), Decoded(root), usable_cores()
    loader = DataLoader(images, batch_size=16, num_workers=cores)

    def decode(images: Iterable[object]) -> float:
        return _once(lambda: list(images))

    def prepared(stored_as: StoredAs) -> float:
        directory = top / stored_as.encoding
        shutil.rmtree(directory, ignore_errors=True)
        return _once(lambda: prepare(source, stored_as, directory))

    contenders = {
        "decode and rescale, one process": lambda: decode(images[i] for i in range(len(images))),
        f"decode and rescale, {cores} processes": lambda: decode(loader),
        "prepare, raw": lambda: prepared(StoredAs(SIZE)),
        "prepare, JPEG": lambda: prepared(StoredAs(SIZE, "jpeg", 95)),
    }
    one, *others = in_turn(contenders, rounds, len(images))
    sizes = [Image.open(file).size for file in images.files[:: max(1, len(images) // 64)]]
    width, height = np.median(sizes, axis=0)
    shares = {
        f"{timing.name}: share of {cores} times one process": round(
            timing.times_as_fast_as(one) / cores, 3
        )
        for timing in others
    }
    return Measured(
        f"Preparing {len(images)} images on {cores} cores",
        [timing.row(others[0]) for timing in (one, *others)],
        {
            "ratio to": others[0].name,
            "median size of the images, pixels": f"{width:.0f}×{height:.0f}",
            **shares,
        },
    )


def _once(work: Callable[[], object]) -> float:
    """Seconds of what takes so many that nothing need warm up."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def reading(stores: dict[str, Store], root: Path, batch_size: int, rounds: int) -> Measured:
    """Random crops from the stores, and from the original files as torchvision reads them."""
    random = np.random.default_rng(0)

    def crops(store: Store) -> Callable[[], object]:
        dataset = TrainingCrops(store.splits["train"], CROP, 0, PAPER)
        return lambda: dataset.__getitems__(_keys(random.integers(len(dataset), size=batch_size)))

    def image_folder(*geometry: object) -> Callable[[], object]:
        transform = T.Compose([*geometry, T.RandomHorizontalFlip(), T.PILToTensor()])
        dataset = ImageFolder(str(root / "train"), transform)
        return lambda: [dataset[i] for i in random.integers(len(dataset), size=batch_size)]

    for store in stores.values():
        # As after the first epoch: in the page cache, and mapped.
        for image in store.splits["train"].images():
            image.reshape(-1)[::4096].sum()
    contenders = {
        "raw store": crops(stores["raw"]),
        "JPEG store": crops(stores["jpeg"]),
        "ImageFolder, RandomResizedCrop": image_folder(T.RandomResizedCrop(CROP)),
        "ImageFolder, Resize 256, RandomCrop": image_folder(T.Resize(SIZE), T.RandomCrop(CROP)),
    }
    with _one_core():
        timings = in_turn(
            {name: partial(seconds, read) for name, read in contenders.items()}, rounds, batch_size
        )
    sizes = {
        f"bytes an image, {name} store": round(
            sum(shard.bytes for split in store.splits.values() for shard in split.files.shards)
            / sum(map(len, store.splits.values()))
        )
        for name, store in stores.items()
    }
    return Measured(
        f"Random {CROP}×{CROP} crops in batches of {batch_size} on one core, after a first epoch",
        [timing.row(timings[2]) for timing in timings],
        {"ratio to": timings[2].name, **sizes},
    )


def _keys(indices: np.ndarray) -> list[tuple[int, int, int]]:
    """Of those images, in the first epoch."""
    return [(0, position, int(index)) for position, index in enumerate(indices)]


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


def augmenting(store: Store, batch_size: int, rounds: int) -> Measured:
    """Flip, colour and mean of a batch beside a step on it."""
    crops = TrainingCrops(store.splits["train"], CROP, 0, PAPER)
    read = crops.__getitems__(_keys(np.arange(batch_size) % len(crops)))
    batch = {name: torch.as_tensor(array, device=DEVICE) for name, array in read.items()}
    augmentation = Augmentation(store.statistics, CROP, CROP).to(DEVICE)
    draws = batch["offset"], batch["reflect"], batch["colour"]
    network = AlexNet(len(store.classes)).to(DEVICE).to(memory_format=torch.channels_last)
    images = augmentation.training_view(batch["image"], *draws)
    exact, fast = (
        Step(network, PaperSGD(network.parameters()), images, batch["label"], bf16)
        for bf16 in (False, True)
    )
    contenders: dict[str, Callable[[], object]] = {
        "flip, colour, mean": lambda: augmentation.training_view(batch["image"], *draws),
        "training step, performance=exact": exact,
        "training step, performance=fast": fast,
    }
    timings = in_turn(
        {name: partial(seconds, work) for name, work in contenders.items()}, rounds, batch_size
    )
    view, *steps = timings
    return Measured(
        f"Augmenting a batch of {batch_size} on the device ({DEVICE.type})",
        [timing.row() for timing in timings],
        {
            f"{view.name}: percent of a {step.name}": round(100 / view.times_as_fast_as(step), 2)
            for step in steps
        },
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", help="a folder train/CLASS/image; without it the miniature set")
    parser.add_argument("--longer-side", type=positive, help="pixels; rescale the images first")
    parser.add_argument("--stored-images", type=positive, default=4096, help="repeated to so many")
    parser.add_argument("--batch-size", type=positive, default=128, help="images of a step")
    run(parser, data, rounds=3)
