"""Errors of networks and ensembles are those of plain NumPy, image by image."""

import copy
import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.classification import multiclass_accuracy

from alexnet_repro.base.config import composed, options
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.record import error_interval
from alexnet_repro.data.preprocess import shorter_side_and_centre
from alexnet_repro.data.store import StoredSplit
from alexnet_repro.results.evaluation import Tally, evaluate
from alexnet_repro.results.options import Evaluation
from alexnet_repro.training.checkpoint import Trained, load_trained

Change = Callable[[dict[str, Any]], None]
Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(tiny_run / "checkpoints" / "last.ckpt", weights_only=True)
    return loaded


@pytest.fixture
def saved(checkpoint: dict[str, Any], tmp_path: Path) -> Callable[[str, Change], Path]:
    """A file with a changed copy of the checkpoint."""

    def make(name: str, change: Change) -> Path:
        changed = copy.deepcopy(checkpoint)
        change(changed)
        path = tmp_path / f"{name}.ckpt"
        torch.save(changed, path)
        return path

    return make


def redrawn(seed: int) -> Change:
    """Another network that prefers other classes for other images, with a mean of its own."""

    def change(checkpoint: dict[str, Any]) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, tensor in checkpoint["state_dict"].items():
            if name.endswith("bias"):
                tensor.zero_()
            elif name.endswith("weight"):
                scale = (0.02 if "conv1" in name else 1.5) / tensor[0].numel() ** 0.5
                tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
        checkpoint["ImageDataModule"]["mean_image"] += 20 * seed
        checkpoint["config"]["seed"] = seed

    return change


@pytest.fixture
def members(saved: Any) -> list[Path]:
    return [saved(f"member{seed}", redrawn(seed)) for seed in (1, 2, 3)]


@pytest.fixture
def run(tiny_images: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """The record of ``alexnet_repro.evaluate`` for these checkpoints and overrides."""
    monkeypatch.setenv("ALEXNET_REPRO_CACHE", str(cache))

    def make(paths: list[Path], *overrides: str) -> dict[str, Any]:
        given = [
            f"checkpoint=[{','.join(map(str, paths))}]",
            "data=folder",
            f"data.source.root={tiny_images}",
            "data.batch_size=4",
            "device=cpu",
            *overrides,
        ]
        return evaluate(options(composed("evaluate", *given), Evaluation), given)

    return make


def by_hand(path: Path, images: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One image at a time: labels, softmax of the centre, softmax averaged over ten views."""
    trained = load_trained(path)
    labels, centre, ten = [], [], []
    for file in sorted(images.glob("*/*.png")):
        with Image.open(file) as image:
            pixels = np.array(shorter_side_and_centre(image, trained.image_size))[None]
        views = torch.cat(list(trained.views.test_views(torch.from_numpy(pixels), "ten")))
        with torch.no_grad():
            exponential = np.exp(trained.network(views).double().numpy())
        softmax = exponential / exponential.sum(axis=1, keepdims=True)
        labels.append(trained.classes.index(file.parent.name))
        centre.append(softmax[0])
        ten.append(np.mean(softmax, axis=0))
    return np.array(labels), np.array(centre), np.array(ten)


def assert_figures(figures: dict[str, Any], probabilities: np.ndarray, labels: np.ndarray) -> None:
    wrong = probabilities.argmax(axis=1) != labels
    assert figures["top1"] == pytest.approx(100 * wrong.mean())
    assert figures["top1_interval"] == pytest.approx(error_interval(100 * wrong.mean(), len(wrong)))
    likelihood = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert figures["negative_log_likelihood"] == pytest.approx(likelihood, rel=1e-4)


def assert_like(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, figure in one.items():
        assert figure == pytest.approx(other[name], rel=1e-4), name


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_ensemble_is_the_softmax_averaged_by_hand(
    members: list[Path], run: Evaluate, tiny_images: Path, split: str
) -> None:
    record = run(members, f"split={split}")
    assert (record["split"], record["images"]) == (split, 9)
    hands = [by_hand(path, tiny_images / split) for path in members]
    labels = hands[0][0]
    for number, crops in ((1, "centre"), (2, "ten")):
        for hand, member in zip(hands, record["checkpoints"], strict=True):
            assert_figures(member["errors"][crops], hand[number], labels)
        together = np.mean([hand[number] for hand in hands], axis=0)
        assert_figures(record["errors"][crops], together, labels)
    likelihoods = [m["errors"]["ten"]["negative_log_likelihood"] for m in record["checkpoints"]]
    assert np.ptp(likelihoods) > 0.01, "the members of this test must differ"


def test_an_ensemble_of_one_is_that_one(members: list[Path], run: Evaluate) -> None:
    record = run(members[:1])
    (member,) = record["checkpoints"]
    assert record["errors"] == member["errors"]
    assert record["experiment"] == "alexnet"
    thrice = run(members[:1] * 3)
    assert thrice["experiment"] == "3 alexnet"
    for crops in ("centre", "ten"):
        assert_like(thrice["errors"][crops], record["errors"][crops])


def test_classes_sum_to_the_whole(members: list[Path], run: Evaluate) -> None:
    record = run(members)
    for crops, rows in record["by_class"].items():
        assert [row["class"] for row in rows] == ["apple", "banana", "cherry"]
        assert sum(row["images"] for row in rows) == record["images"]
        for top in ("top1", "top5"):
            wrong = sum(row["images"] * row[top] / 100 for row in rows)
            assert 100 * wrong / record["images"] == pytest.approx(record["errors"][crops][top])


def test_one_crop_leaves_the_ten_out(members: list[Path], run: Evaluate) -> None:
    centre, ten = run(members, "crops=centre"), run(members, "crops=ten")
    assert centre["errors"].keys() == {"centre"}
    assert centre["errors"]["centre"] == ten["errors"]["centre"]


def test_it_measures_what_training_measured_at_its_end(tiny_run: Path, run: Evaluate) -> None:
    record = run([tiny_run / "checkpoints" / "last.ckpt"], "split=test")
    trained = json.loads((tiny_run / "result.json").read_text())
    assert record["dataset"] == trained["dataset"]
    for crops in ("centre", "ten"):
        assert_like(record["errors"][crops], trained["errors"][crops])


def test_the_record_says_which_networks_were_measured(members: list[Path], run: Evaluate) -> None:
    record = run(members)
    assert record["command"].startswith("python -m alexnet_repro.evaluate ")
    for path, member, seed in zip(members, record["checkpoints"], (1, 2, 3), strict=True):
        assert member["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (member["experiment"], member["seed"], member["epoch"]) == ("alexnet", seed, 1)
    assert len({member["config_sha256"] for member in record["checkpoints"]}) == 3


def test_a_batch_is_all_that_is_held(
    members: list[Path], run: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    count = Tally.count

    def watched(self: Tally, log_probability: torch.Tensor, label: torch.Tensor) -> None:
        held.append(len(label))
        count(self, log_probability, label)

    monkeypatch.setattr(Tally, "count", watched)
    run(members[:1], "crops=centre")
    assert held == [4, 4, 4, 4, 1, 1]


@pytest.mark.parametrize(("crops", "passes"), [("centre", 1), ("ten", 10)])
def test_ten_crops_are_ten_passes_and_the_images_are_read_once(
    members: list[Path],
    run: Evaluate,
    monkeypatch: pytest.MonkeyPatch,
    crops: str,
    passes: int,
) -> None:
    seen, read = [], []

    def watched(path: Path, *options: Any) -> Trained:
        trained = load_trained(path, *options)
        fc8 = trained.network.get_submodule("fc8")
        fc8.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
        return trained

    image = StoredSplit.image
    monkeypatch.setattr(
        StoredSplit, "image", lambda self, index: read.append(index) or image(self, index)
    )
    monkeypatch.setattr("alexnet_repro.results.evaluation.load_trained", watched)
    run(members[:1], f"crops={crops}")
    assert seen == [4] * passes + [4] * passes + [1] * passes
    assert sorted(read) == list(range(9))


def test_counts_are_those_of_torchmetrics_at_a_thousand_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3000, 1000, generator=generator)
    label = torch.randint(0, 1000, (3000,), generator=generator)
    logits[torch.arange(3000), label] += 2.5
    tally = Tally(1000)
    for part in range(0, 3000, 700):
        tally.count(logits[part : part + 700].log_softmax(1), label[part : part + 700])
    figures = tally.figures()
    for k in (1, 5):
        accuracy = multiclass_accuracy(logits, label, 1000, top_k=k, average="micro")
        assert figures[f"top{k}"] == pytest.approx(100 * (1 - float(accuracy)), abs=1e-3)
    assert 20 < figures["top5"] < figures["top1"] < 95


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda c: c["ImageDataModule"].update(classes=["apple", "cherry", "banana"]),
            "its classes are not those of .*member1",
        ),
        (
            lambda c: c["ImageDataModule"].update(
                image_size=240, mean_image=torch.zeros(240, 240, 3)
            ),
            "add data.image_size=240",
        ),
    ],
)
def test_a_network_for_other_data_is_refused_in_one_line(
    saved: Any, members: list[Path], run: Evaluate, change: Change, told: str
) -> None:
    other = saved("other", change)
    with pytest.raises(UsageError, match=told) as error:
        run([*members, other])
    assert str(error.value).startswith(f"{other}: ")
    assert "\n" not in str(error.value)


def test_a_network_for_another_number_of_classes_is_refused(
    saved: Any, members: list[Path], run: Evaluate
) -> None:
    def two_classes(checkpoint: dict[str, Any]) -> None:
        checkpoint["ImageDataModule"]["classes"] = ["apple", "banana"]
        for name in ("network.fc8.weight", "network.fc8.bias"):
            checkpoint["state_dict"][name] = checkpoint["state_dict"][name][:2].clone()

    with pytest.raises(UsageError, match="knows 2 of the 3 classes of folder, and not cherry"):
        run([saved("two", two_classes)])


def test_a_gpu_that_is_not_there_is_told(members: list[Path], run: Evaluate) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(UsageError, match="device gpu: this machine has no GPU"):
        run(members, "device=gpu")


def test_progress_is_told_by_the_batch(
    members: list[Path], run: Evaluate, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr("alexnet_repro.base.console.SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO):
        run(members[:1], "crops=centre")
    assert "4 of 9 images" in caplog.text
    assert "9 of 9 images" in caplog.text


# Other images of the same classes


def with_words(checkpoint: dict[str, Any]) -> None:
    words = ["crane, a bird", "yellow fruit, banana", "crane"]
    redrawn(1)(checkpoint)
    checkpoint["ImageDataModule"]["words"] = words


@pytest.mark.parametrize(
    ("folders", "way"),
    [
        ({"banana": "banana", "cherry": "cherry"}, "names"),
        ({"banana": "Yellow_fruit", "cherry": "Cherry"}, "words"),
        ({"banana": "1", "cherry": "02"}, "numbers"),
    ],
)
def test_a_folder_of_some_of_the_classes_is_evaluated_by_itself(
    saved: Any,
    run: Evaluate,
    tiny_images: Path,
    tmp_path: Path,
    caplog: Any,
    folders: dict[str, str],
    way: str,
) -> None:
    path = saved("network", with_words)
    for name, called in folders.items():
        shutil.copytree(tiny_images / "test" / name, tmp_path / "other" / called)
    with caplog.at_level(logging.INFO):
        record = run([path], f"data.source.root={tmp_path / 'other'}", "data.batch_size=128")
    assert f"folder: 2 of the network's 3 classes, matched by {way}" in caplog.text
    labels, centre, ten = by_hand(path, tiny_images / "test")
    assert (record["split"], record["images"]) == ("test", 6)
    assert_figures(record["errors"]["centre"], centre[labels > 0], labels[labels > 0])
    assert_figures(record["errors"]["ten"], ten[labels > 0], labels[labels > 0])
    rows = record["by_class"]["centre"]
    assert [(row["class"], row["images"]) for row in rows] == [
        ("apple", 0), ("banana", 3), ("cherry", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("called", "told"),
    [
        (("banana", "plum"), "knows 1 of the 2 classes of folder, and not plum; name them as it"),
        (("banana", "2"), "knows 1 of the 2 classes of folder, and not 2"),
        (("0", "3"), "knows 0 of the 2 classes of folder, and not 0, 3"),
        (("yellow fruit", "banana"), "banana, yellow fruit of folder could be one or several"),
        (("apple", "crane"), "the classes crane of folder could be one or several of the net"),
    ],
)
def test_classes_that_do_not_match_are_told_before_anything_is_prepared(
    saved: Any, run: Evaluate, tiny_images: Path, tmp_path: Path, called: tuple[str, ...], told: str
) -> None:
    for name in called:
        shutil.copytree(tiny_images / "test" / "banana", tmp_path / "other" / name)
    cache = tmp_path / "cache"
    root = f"data.source.root={tmp_path / 'other'}"
    with pytest.raises(UsageError, match=told) as error:
        run([saved("network", with_words)], root, f"data.cache_dir={cache}")
    assert "\n" not in str(error.value)
    assert not cache.exists()


def test_numbers_are_the_names_of_a_network_whose_names_are_numbers(
    saved: Any, run: Evaluate, tiny_images: Path, tmp_path: Path
) -> None:
    def numbered(checkpoint: dict[str, Any]) -> None:
        redrawn(1)(checkpoint)
        checkpoint["ImageDataModule"]["classes"] = ["10", "2", "7"]  # in the order of text

    for name, called in {"apple": "010", "cherry": "07"}.items():
        shutil.copytree(tiny_images / "test" / name, tmp_path / "other" / called)
    record = run([saved("network", numbered)], f"data.source.root={tmp_path / 'other'}")
    rows = record["by_class"]["centre"]
    assert [(row["class"], row["images"]) for row in rows] == [("10", 3), ("2", 0), ("7", 3)]
