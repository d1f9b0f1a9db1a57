"""An index comes back as it was built; one that was tampered with is told in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet_repro.analysis.index import open_index, write_index
from alexnet_repro.base.errors import UsageError

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
    write_index(tmp_path / "index", [VECTORS[:4], VECTORS[4:]], description)
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


def header(shape: tuple[int, int], dtype: str = "<f4") -> Callable[[Path], None]:
    def tamper(index: Path) -> None:
        with (index / "fc7.npy").open("wb") as file:
            said = {"descr": dtype, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, said)
            file.write(bytes(6 * 5 * 4))

    return tamper


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (header((2**40, 5)), "damaged"),
        (header((6, 2**61)), "damaged"),
        (header((6, -5)), "damaged"),
        (header((5, 6)), "does not hold 6 vectors"),
        (header((6, 5), "<i4"), "does not hold 6 vectors"),
        (header((6, 5), "|O"), "damaged"),
        (lambda i: (i / "fc7.npy").write_bytes(b""), "damaged"),
        (lambda i: (i / "fc7.npy").unlink(), "damaged"),
        (lambda i: (i / "index.json").write_text("{"), "damaged"),
        (lambda i: (i / "index.json").write_text("[]"), "damaged"),
        (described(lambda v: v.update(format=9)), "format 9"),
        (described(lambda v: v["labels"].append(0)), "differ in number"),
        (described(lambda v: v["labels"].__setitem__(0, 7)), "not that of a class"),
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
    assert str(error.value).startswith(f"--index {index}: ")


def test_a_missing_index_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no index"):
        open_index(tmp_path)


def test_vectors_of_another_network_are_told(index: Path) -> None:
    with pytest.raises(UsageError, match="its vectors have 5 numbers, fc7 has 4"):
        open_index(index).nearest(VECTORS[:1, :4], 2)
