"""Batches hold the right crops of the right images, whoever reads them."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.augment import AugmentOptions, draw
from alexnet_repro.data.datamodule import ImageDataModule, readers_with_room, workers_for
from alexnet_repro.data.reader import EpochOrder, SharedBatches
from alexnet_repro.data.sources import folder

MakeFolder = Callable[..., Path]
STORED, CROP, BATCH = 20, 16, 8


@pytest.fixture
def root(image_folder: MakeFolder) -> Path:
    return image_folder({"train": {"cat": 10, "dog": 17}, "val": {"cat": 4, "dog": 5}})


@pytest.fixture
def data(root: Path, tmp_path: Path) -> Callable[..., ImageDataModule]:
    def make(**changes: Any) -> ImageDataModule:
        options: dict[str, Any] = {
            "name": "pets",
            "source": lambda: folder(str(root)),
            "cache_dir": str(tmp_path / "cache"),
            "image_size": STORED,
            "crop_size": CROP,
            "input_size": CROP,
            "batch_size": BATCH,
            "num_workers": 0,
            "seed": 3,
        }
        return ImageDataModule(**(options | changes))

    return make


def epoch_of(loader: DataLoader[Any], epoch: int) -> list[dict[str, Tensor]]:
    assert isinstance(loader.batch_sampler, SharedBatches)
    assert isinstance(loader.batch_sampler.sampler, EpochOrder)
    loader.batch_sampler.sampler.set_epoch(epoch)
    return list(loader)


# Training batches


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("crop_chunk", [1, 4])
def test_a_batch_holds_the_crops_of_its_images(
    data: Callable[..., ImageDataModule], epoch: int, crop_chunk: int
) -> None:
    module = data(augment=AugmentOptions(crop_chunk=crop_chunk))
    train = module.store.splits["train"]
    expected_order = np.random.default_rng([3, epoch]).permutation(27)
    batches = epoch_of(module.train_dataloader(), epoch)
    assert len(batches) == 3  # of 27 images, the last 3 fill no batch
    for number, batch in enumerate(batches):
        positions = np.arange(BATCH * number, BATCH * (number + 1))
        indices = expected_order[positions]
        drawn = draw(3, epoch, indices, positions, STORED - CROP, module.augment)
        assert np.array_equal(batch["offset"], drawn.offset)
        assert np.array_equal(batch["reflect"], drawn.reflect)
        assert np.array_equal(batch["colour"], drawn.colour)
        assert batch["label"].tolist() == [int(i >= 10) for i in indices]
        assert batch["image"].dtype == torch.uint8
        for crop, i, (top, left) in zip(batch["image"], indices, drawn.offset, strict=True):
            by_hand = train.image(int(i))[top : top + CROP, left : left + CROP]
            assert np.array_equal(crop, by_hand)


def test_two_workers_make_the_same_batches_as_none(data: Callable[..., ImageDataModule]) -> None:
    module = data()
    alone = module.train_dataloader()
    module.num_workers = 2
    workers, val = module.train_dataloader(), module.val_dataloader()
    assert workers.num_workers == 2
    for epoch in (0, 1):
        pairs = zip(epoch_of(alone, epoch), epoch_of(workers, epoch), strict=True)
        for one, other in pairs:
            assert list(one) == list(other)
            assert all(torch.equal(one[key], other[key]) for key in one)
    module.num_workers = 0
    for one, other in zip(module.val_dataloader(), val, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_another_seed_gives_another_order_and_other_crops(
    data: Callable[..., ImageDataModule],
) -> None:
    one, other = (epoch_of(data(seed=seed).train_dataloader(), 0) for seed in (0, 1))
    assert not torch.equal(one[0]["image"], other[0]["image"])
    assert not torch.equal(one[0]["offset"], other[0]["offset"])


# Evaluation batches


def test_evaluation_reads_every_whole_image_in_order(data: Callable[..., ImageDataModule]) -> None:
    module = data()
    for loader in (module.val_dataloader(), module.test_dataloader()):
        batches = list(loader)
        assert [len(batch["label"]) for batch in batches] == [8, 1]
        images = torch.cat([batch["image"] for batch in batches])
        expected = np.stack(list(module.store.splits["val"].images()))
        assert np.array_equal(images, expected)
        assert torch.cat([batch["label"] for batch in batches]).tolist() == [0] * 4 + [1] * 5


def test_test_images_are_those_of_test_where_there_are_any(
    data: Callable[..., ImageDataModule], image_folder: MakeFolder
) -> None:
    assert data().test_split == "val"
    counts = {"train": {"cat": 4, "dog": 4}, "val": {"cat": 1}, "test": {"cat": 1, "dog": 2}}
    root = image_folder(counts, root="with test")
    module = data(source=lambda: folder(str(root)))
    assert module.test_split == "test"
    assert sum(len(batch["label"]) for batch in module.test_dataloader()) == 3


# In training


class Recorder(L.LightningModule):
    """Keeps what a network would see."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.training_images: list[Tensor] = []
        self.views: dict[str, list[list[Tensor]]] = {"val": [], "test": [], "train": []}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        assert set(batch) == {"image", "label"}
        self.training_images.append(batch["image"])
        return self.weight.sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.views["val"].append(list(batch["views"]))

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.views[("test", "train")[dataloader_idx]].append(list(batch["views"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.fixture
def recorded(data: Callable[..., ImageDataModule]) -> Iterator[tuple[Recorder, ImageDataModule]]:
    """Two epochs of training and a test, of training images too."""
    recorder, module = Recorder(), data(augment=AugmentOptions(colour_pca=0.0))
    module.tests_training_images = True
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(recorder, module)
    trainer.test(recorder, module, verbose=False)
    return recorder, module


def test_training_sees_reflected_crops_minus_the_mean_in_a_new_order_each_epoch(
    recorded: tuple[Recorder, ImageDataModule],
) -> None:
    recorder, module = recorded
    train, mean = module.store.splits["train"], module.store.statistics.mean_image
    found = torch.cat(recorder.training_images).numpy()
    assert found.shape == (2 * 3 * BATCH, 3, CROP, CROP)
    place = 0
    for epoch in (0, 1):
        indices = np.random.default_rng([3, epoch]).permutation(27)[: 3 * BATCH]
        drawn = draw(3, epoch, indices, np.arange(3 * BATCH), STORED - CROP)
        for i, (top, left), reflect in zip(indices, drawn.offset, drawn.reflect, strict=True):
            pixels = (train.image(int(i)) - mean)[top : top + CROP, left : left + CROP]
            pixels = pixels[:, ::-1] if reflect else pixels
            np.testing.assert_allclose(found[place], pixels.transpose(2, 0, 1), atol=1e-3)
            place += 1


def test_validation_sees_the_centre_test_ten_views_and_of_every_third_training_image_the_centre(
    recorded: tuple[Recorder, ImageDataModule],
) -> None:
    recorder, module = recorded
    assert [len(views) for views in recorder.views["val"]] == [1] * 4  # two batches, two epochs
    assert [len(views) for views in recorder.views["test"]] == [10] * 2
    splits, mean = module.store.splits, module.store.statistics.mean_image

    def assert_centres(views: list[list[Tensor]], images: list[npt.NDArray[np.uint8]]) -> None:
        centre = (np.stack(images) - mean)[:, 2 : 2 + CROP, 2 : 2 + CROP].transpose(0, 3, 1, 2)
        np.testing.assert_allclose(torch.cat([batch[0] for batch in views]), centre, atol=1e-3)

    for views in (recorder.views["val"][:2], recorder.views["val"][2:], recorder.views["test"]):
        assert_centres(views, list(splits["val"].images()))
    assert [len(views) for views in recorder.views["train"]] == [1] * 2
    assert_centres(recorder.views["train"], list(splits["train"].images())[::3])


# Around them


def test_too_few_training_images_for_a_batch_are_told(
    data: Callable[..., ImageDataModule],
) -> None:
    data(batch_size=27).prepare_data()
    module = data(batch_size=28)
    for _ in range(2):
        with pytest.raises(UsageError) as error:
            module.prepare_data()
        assert str(error.value) == "data.batch_size=28: the training set has only 27 images"


def test_the_source_is_not_asked_twice(data: Callable[..., ImageDataModule], root: Path) -> None:
    asked = []

    def source() -> Any:
        asked.append(1)
        return folder(str(root))

    module = data(source=source)
    module.prepare_data()
    module.prepare_data()
    assert module.classes == ("cat", "dog")
    assert len(asked) == 1


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 3), (9, 8), (64, 8)])
def test_workers_leave_a_core_to_a_training_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert workers_for(training_on_cpu=False) == workers


def test_a_training_on_the_cpu_has_no_workers(data: Callable[..., ImageDataModule]) -> None:
    assert workers_for(training_on_cpu=True) == 0
    assert data(num_workers=None).train_dataloader().num_workers == 0


def test_a_checkpoint_gets_what_classifies_new_images(
    data: Callable[..., ImageDataModule], tmp_path: Path
) -> None:
    module = data()
    torch.save(module.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["classes"] == ["cat", "dog"]
    assert (state["image_size"], state["crop_size"], state["input_size"]) == (STORED, CROP, CROP)
    pixels = np.stack(list(module.store.splits["train"].images()))
    np.testing.assert_allclose(state["mean_image"].numpy(), pixels.mean(axis=0), rtol=1e-5)
    assert state["eigenvalues"].shape == (3,)
    assert state["eigenvectors"].shape == (3, 3)


@pytest.mark.parametrize(("before", "done", "size"), [(4, 6, 9), (4, 3, 8), (8, 1, 3), (6, 3, 7)])
def test_batches_of_another_size_go_on_with_the_image_after_the_last(
    before: int, done: int, size: int
) -> None:
    keys, seen = range(40), before * done
    shared = SharedBatches(keys, size, drop_last=True)  # type: ignore[arg-type]
    shared.begin_at(0, seen)
    rest = [key for batch in shared for key in batch]
    assert rest == list(range(seen, seen + (40 - seen) // size * size))


def test_a_rest_that_is_less_than_a_batch_is_one() -> None:
    shared = SharedBatches(range(40), 9, drop_last=True)  # type: ignore[arg-type]
    shared.begin_at(0, 36)
    assert list(shared) == [[36, 37, 38, 39]]


@pytest.mark.parametrize(
    ("seen", "size", "batches"), [(12, 20, [15]), (3, 8, [8, 8, 8]), (8, 8, [8, 8]), (20, 8, [7])]
)
def test_no_image_of_an_epoch_is_trained_on_again_when_batches_change(
    data: Callable[..., ImageDataModule], seen: int, size: int, batches: list[int]
) -> None:
    module = data(batch_size=size)
    module.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.trainer.fit_loop.epoch_progress.current.started = 1
    progress = module.trainer.fit_loop.epoch_loop.batch_progress.current
    progress.ready = module.go_on_after(seen)
    read = [key for keys in module.train_dataloader().batch_sampler for key in keys]  # type: ignore[union-attr]
    assert [position for _, position, _ in read] == list(range(seen, seen + sum(batches)))
    assert progress.ready + len(batches) == len(module.train_dataloader())


def test_there_are_as_many_readers_as_shared_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    docker, batch = 64 * 2**20, 128 * 3 * 256**2
    usage = shutil.disk_usage("/")._replace(free=docker)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    readers_with_room.cache_clear()
    assert readers_with_room(2, batch) == 0
    assert "has room for the batches of 0 processes that read images, not of 2" in caplog.text
    assert readers_with_room(2, batch // 16) == 2
    readers_with_room.cache_clear()


def test_a_set_that_cannot_be_trained_on_is_told_before_it_is_prepared(
    data: Callable[..., ImageDataModule], root: Path, tmp_path: Path
) -> None:
    module = data(source=lambda: folder(str(root / "train")))
    with pytest.raises(UsageError, match="pets has only test images; training needs ROOT/train/CL"):
        module.prepare_data()
    assert not (tmp_path / "cache").exists()
    assert len(module.store.splits["test"]) == 27


def test_a_set_is_evaluated_with_larger_batches_than_it_is_trained_with(
    data: Callable[..., ImageDataModule],
) -> None:
    module = data(batch_size=128)
    with pytest.raises(UsageError, match="batch_size=128: the training set has only 27 images"):
        module.prepare_data()
    (batch,) = module.whole_images("val", on_cpu=True)
    assert len(batch["label"]) == 9
