"""An index comes back as it was built; one that was tampered with is told in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet_repro.errors import UsageError
from alexnet_repro.seeing.index import HEADER, open_index, write_index

VECTORS = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    description = {
        "names": [f"{i}.png" for i in range(6)],
        "labels": [0, 0, 1, 1, 2, 2],
        "classes": ["apple", "banana", "cherry"],
        "checkpoint": "last.ckpt",
        "checkpoint_sha256": "0" * 64,
    }
    assert write_index(tmp_path / "index", [VECTORS[:4], VECTORS[4:]], description) == 6
    return tmp_path / "index"


def test_neighbours_and_distances_are_those_of_brute_force(index: Path) -> None:
    query = VECTORS[2] + 0.1
    distances = np.sqrt(((VECTORS - query).astype(np.float64) ** 2).sum(axis=1))
    (nearest,) = open_index(index).nearest(query[None], 4)
    assert [place for place, _ in nearest] == distances.argsort()[:4].tolist()
    assert [distance for _, distance in nearest] == pytest.approx(np.sort(distances)[:4], rel=1e-3)


def test_no_more_neighbours_than_there_are_images(index: Path) -> None:
    assert len(open_index(index).nearest(VECTORS[:1], 100)[0]) == 6


def described(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def tamper(index: Path) -> None:
        values = json.loads((index / "index.json").read_text())
        change(values)
        (index / "index.json").write_text(json.dumps(values))

    return tamper


def header(index: Path, place: int, value: object) -> None:
    path = index / "vectors.faiss"
    data = path.read_bytes()
    fields = list(HEADER.unpack(data[: HEADER.size]))
    fields[place] = value
    path.write_bytes(HEADER.pack(*fields) + data[HEADER.size :])


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda i: header(i, 2, 2**40), "does not hold 6 vectors"),
        (lambda i: header(i, 1, -5), "does not hold 6 vectors"),
        (lambda i: header(i, 7, 2**60), "does not hold 6 vectors"),
        (lambda i: header(i, 0, b"IwPQ"), "not a flat faiss index"),
        (lambda i: (i / "vectors.faiss").write_bytes(b""), "damaged"),
        (lambda i: (i / "vectors.faiss").unlink(), "damaged"),
        (lambda i: (i / "index.json").write_text("{"), "damaged"),
        (lambda i: (i / "index.json").write_text("[]"), "damaged"),
        (described(lambda v: v.update(format=9)), "format 9"),
        (described(lambda v: v["labels"].append(0)), "differ in number"),
        (described(lambda v: v["labels"].__setitem__(0, 7)), "not that of a class"),
        (described(lambda v: v.update(dimension=6)), "does not hold 6 vectors of 6"),
        (described(lambda v: v.pop("classes")), "classes"),
    ],
)
def test_a_damaged_index_is_told_in_one_line(
    index: Path, tamper: Callable[[Path], None], told: str
) -> None:
    tamper(index)
    with pytest.raises(UsageError, match=told) as error:
        open_index(index)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"index={index}: ")


def test_a_missing_index_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no index"):
        open_index(tmp_path)
