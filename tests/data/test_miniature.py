"""The miniature set is deterministic, irregular like ILSVRC, and not to be solved by colour."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alexnet_repro.data import miniature
from alexnet_repro.data.miniature import CLASSES, generate, render

Vectors = NDArray[np.float64]
Labels = NDArray[np.int64]

CHANCE_ERROR = 1 - 1 / len(CLASSES)
TINY = {"train": 2, "val": 1, "test": 1}


def central_square(image: Image.Image) -> NDArray[np.uint8]:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(square.resize((16, 16), Image.Resampling.BOX))


def squares(split: str, per_class: int) -> tuple[Vectors, Labels]:
    images = [
        central_square(render(split, class_index, i))
        for class_index in range(len(CLASSES))
        for i in range(per_class)
    ]
    return np.stack(images) / 255, np.repeat(np.arange(len(CLASSES)), per_class)


@pytest.fixture(scope="module")
def train() -> tuple[Vectors, Labels]:
    return squares("train", 50)


@pytest.fixture(scope="module")
def test() -> tuple[Vectors, Labels]:
    return squares("test", 25)


def mean_colour(images: Vectors) -> Vectors:
    return np.asarray(images.mean(axis=(1, 2)))


def raw_pixels(images: Vectors) -> Vectors:
    return images.reshape(len(images), -1)


def nearest_mean(x: Vectors, labels: Labels, queries: Vectors) -> Labels:
    means = np.stack([x[labels == k].mean(axis=0) for k in range(len(CLASSES))])
    return np.asarray(((queries[:, None] - means) ** 2).sum(axis=2).argmin(axis=1))


def least_squares(x: Vectors, labels: Labels, queries: Vectors) -> Labels:
    centre = x.mean(axis=0)
    x, queries = x - centre, queries - centre
    targets = np.eye(len(CLASSES))[labels]
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ targets)
    return np.asarray((queries @ weights).argmax(axis=1))


CLASSIFIERS = pytest.mark.parametrize("classify", [nearest_mean, least_squares])
Classifier = Callable[[Vectors, Labels, Vectors], Labels]


@CLASSIFIERS
def test_mean_colour_does_not_tell_the_class(
    classify: Classifier, train: tuple[Vectors, Labels], test: tuple[Vectors, Labels]
) -> None:
    guesses = classify(mean_colour(train[0]), train[1], mean_colour(test[0]))
    assert np.mean(guesses != test[1]) > CHANCE_ERROR - 0.1


@CLASSIFIERS
def test_raw_pixels_hardly_tell_the_class(
    classify: Classifier, train: tuple[Vectors, Labels], test: tuple[Vectors, Labels]
) -> None:
    guesses = classify(raw_pixels(train[0]), train[1], raw_pixels(test[0]))
    assert np.mean(guesses != test[1]) > CHANCE_ERROR - 0.2


def test_same_arguments_give_the_same_pixels() -> None:
    first, again = render("val", 3, 7, seed=5), render("val", 3, 7, seed=5)
    assert first.mode == again.mode
    assert np.array_equal(np.asarray(first), np.asarray(again))


def test_every_argument_changes_the_image() -> None:
    variants = [
        render("train", 0, 0),
        render("val", 0, 0),
        render("train", 1, 0),
        render("train", 0, 1),
        render("train", 0, 0, seed=1),
    ]
    assert len({image.tobytes() for image in variants}) == len(variants)


def test_sizes_and_aspect_ratios_vary_in_both_orientations() -> None:
    sizes = [render("train", i % len(CLASSES), i).size for i in range(40)]
    ratios = [width / height for width, height in sizes]
    assert len(set(sizes)) > 30
    assert min(ratios) < 3 / 4 + 0.01
    assert max(ratios) > 4 / 3
    assert all(9 / 16 - 0.01 < ratio < 16 / 9 + 0.01 for ratio in ratios)


def test_a_few_images_are_greyscale() -> None:
    modes = [render("train", i % len(CLASSES), i).mode for i in range(150)]
    assert set(modes) == {"RGB", "L"}
    assert modes.count("L") < 0.1 * len(modes)


def test_classes_are_sorted_names_fit_for_directories() -> None:
    assert len(CLASSES) == 10
    assert list(CLASSES) == sorted(CLASSES)
    assert all(name.isidentifier() and name.islower() for name in CLASSES)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        render("trian", 0, 0)


def test_generate_writes_every_split_and_class(tmp_path: Path) -> None:
    directory = tmp_path / "cache" / "miniature"
    assert generate(directory, images_per_class=TINY) == directory
    for split, count in TINY.items():
        assert sorted(path.name for path in (directory / split).iterdir()) == list(CLASSES)
        for name in CLASSES:
            files = sorted(path.name for path in (directory / split / name).iterdir())
            assert files == [f"{i:04d}.jpg" for i in range(count)]
    assert sorted(directory.parent.iterdir()) == [directory.with_name(".miniature.lock"), directory]


def test_files_hold_the_rendered_images(tmp_path: Path) -> None:
    directory = generate(tmp_path / "miniature", seed=3, images_per_class={"val": 1})
    rendered = render("val", 4, 0, seed=3)
    with Image.open(directory / "val" / CLASSES[4] / "0000.jpg") as stored:
        assert (stored.format, stored.size, stored.mode) == ("JPEG", rendered.size, rendered.mode)
        difference = np.asarray(stored, np.float32) - np.asarray(rendered, np.float32)
    assert np.abs(difference).mean() < 6


def test_generate_leaves_an_existing_set_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = generate(tmp_path / "miniature", images_per_class=TINY)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    monkeypatch.setattr(miniature, "render", None)
    assert generate(directory, images_per_class=TINY) == directory
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_of_those_who_generate_at_once_one_renders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, rendered = tmp_path / "miniature", list[tuple[object, ...]]()

    def counted(*arguments: Any) -> Image.Image:
        rendered.append(arguments)
        return render(*arguments)

    monkeypatch.setattr(miniature, "render", counted)
    with ThreadPoolExecutor(3) as jobs:
        made = list(jobs.map(lambda _: generate(directory, images_per_class=TINY), range(3)))
    assert made == 3 * [directory]
    assert len(rendered) == len(set(rendered)) == len(CLASSES) * sum(TINY.values())


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_generate_leaves_nothing(
    interruption: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(split: str, class_index: int, image_index: int, seed: int = 0) -> Image.Image:
        if class_index == 5:
            raise interruption
        return render(split, class_index, image_index, seed)

    monkeypatch.setattr(miniature, "render", interrupted)
    with pytest.raises(interruption):
        generate(tmp_path / "miniature", images_per_class=TINY)
    assert [path.name for path in tmp_path.iterdir()] == [".miniature.lock"]
