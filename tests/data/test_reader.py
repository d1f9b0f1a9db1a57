"""Readers in other processes see the same pixels, and reading for many epochs holds no memory."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_convert

from alexnet_repro.data.augment import PAPER, AugmentOptions
from alexnet_repro.data.prepare import cached
from alexnet_repro.data.reader import EpochOrder, TrainingCrops
from alexnet_repro.data.sources import folder
from alexnet_repro.data.store import StoredAs, StoredSplit


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def train(
    request: pytest.FixtureRequest, eighty_images: Path, tmp_path_factory: pytest.TempPathFactory
) -> StoredSplit:
    stored_as = StoredAs(64, request.param, 95 if request.param == "jpeg" else None)
    cache = tmp_path_factory.mktemp("cache")
    return cached(folder(str(eighty_images)), stored_as, cache, "pets").splits["train"]


def batches(train: StoredSplit, workers: int, context: str | None) -> list[dict[str, torch.Tensor]]:
    loader = DataLoader(
        TrainingCrops(train, 56, 3, PAPER),
        batch_size=8,
        sampler=EpochOrder(len(train), 3),
        num_workers=workers,
        multiprocessing_context=context,
        collate_fn=default_convert,
    )
    return list(loader)


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_read_what_one_process_reads(
    train: StoredSplit, context: str, workers: int
) -> None:
    alone, theirs = batches(train, 0, None), batches(train, workers, context)
    assert len(alone) == len(theirs) == 10
    for mine, other in zip(alone, theirs, strict=True):
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[key], other[key]) for key in mine)


def test_crops_are_pieces_of_the_stored_images(train: StoredSplit) -> None:
    keys = [(5, position, index) for position, index in enumerate((70, 3, 41))]
    read = TrainingCrops(train, 56, 3, PAPER).__getitems__(keys)
    for crop, (top, left), (_, _, index) in zip(read["image"], read["offset"], keys, strict=True):
        whole = train.image(index)
        assert np.array_equal(crop, whole[top : top + 56, left : left + 56])


def _anonymous_kilobytes() -> int:
    """Memory of this process that is not of mapped files, which the system can always drop."""
    status = Path("/proc/self/smaps_rollup").read_text()
    found = re.search(r"^Anonymous:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found.group(1))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_memory_does_not_grow_over_epochs(train: StoredSplit) -> None:
    dataset, order = TrainingCrops(train, 56, 3, PAPER), EpochOrder(len(train), 3)

    def epoch(number: int) -> None:
        order.set_epoch(number)
        keys = list(order)
        for start in range(0, len(keys), 8):
            dataset.__getitems__(keys[start : start + 8])

    for number in range(20):
        epoch(number)
    before = _anonymous_kilobytes()
    for number in range(20, 220):
        epoch(number)
    # An epoch reads 900 KB of pixels: keeping one batch of each would be 15 MB.
    assert _anonymous_kilobytes() - before < 2000


def order(seed: int, epoch: int, length: int = 500) -> list[tuple[int, int, int]]:
    sampler = EpochOrder(length, seed)
    sampler.set_epoch(epoch)
    assert len(sampler) == length
    return list(sampler)


def test_an_epoch_visits_every_image_once() -> None:
    keys = order(seed=0, epoch=4)
    assert {epoch for epoch, _, _ in keys} == {4}
    assert [position for _, position, _ in keys] == list(range(500))
    assert sorted(index for _, _, index in keys) == list(range(500))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    orders = [
        tuple(index for _, _, index in order(seed, epoch))
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1)]
    ]
    assert len(set(orders)) == 5
    assert tuple(range(500)) not in orders


def test_a_resized_crop_depends_on_seed_epoch_and_image_alone(train: StoredSplit) -> None:
    options = AugmentOptions(resized_crop=0.25, mean_crop="centre")
    crops = TrainingCrops(train, 56, 3, options)
    keys = [(5, position, index) for position, index in enumerate((70, 3, 41))]
    state = torch.get_rng_state()
    read = crops.__getitems__(keys)["image"]
    assert torch.equal(state, torch.get_rng_state())
    assert read.shape == (3, 56, 56, 3)
    assert np.array_equal(crops.__getitems__([(5, 9, 41)])["image"][0], read[2])
    assert not np.array_equal(crops.__getitems__([(6, 2, 41)])["image"][0], read[2])
    other = TrainingCrops(train, 56, 4, options)
    assert not np.array_equal(other.__getitems__(keys)["image"], read)
