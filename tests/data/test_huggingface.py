"""The layouts of Hugging Face's ``datasets``: Parquet files and image folders."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.huggingface import huggingface
from alexnet_repro.data.prepare import cached
from alexnet_repro.data.sources import Source
from alexnet_repro.data.store import StoredAs

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
WNIDS = ("n01440764", "n02012849", "n03126707")
WORDS = ("tench, Tinca tinca", "crane", "crane, of steel")


def png(label: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), COLOURS[label]).save(buffer, "PNG")
    return buffer.getvalue()


def table(
    labels: list[int], shown: list[int], names: tuple[str, ...], paths: list[str]
) -> pa.Table:
    """As ``datasets`` writes it: image bytes and path, label, and the features as metadata."""
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(names), "_type": "ClassLabel"},
    }
    image = pa.StructArray.from_arrays(
        [pa.array([png(s) for s in shown], pa.binary()), pa.array(paths, pa.string())],
        names=["bytes", "path"],
    )
    columns = pa.table({"image": image, "label": pa.array(labels, pa.int64())})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return columns.replace_schema_metadata(metadata)


TRAIN = [2, 0, 1, 1, 0, 2, 2, 0, 1]
VAL = [1, 1, 2, 0]


@pytest.fixture
def imagenet_1k(tmp_path: Path) -> Path:
    """Two files for train, one for validation, one of test images without labels."""
    top = tmp_path / "imagenet-1k"
    (top / "data").mkdir(parents=True)

    def write(file: str, labels: list[int], shown: list[int], paths: list[str]) -> None:
        pq.write_table(table(labels, shown, WORDS, paths), top / "data" / file, row_group_size=2)

    paths = [f"{WNIDS[label]}_{i}_{WNIDS[label]}.JPEG" for i, label in enumerate(TRAIN)]
    write("train-00000-of-00002.parquet", TRAIN[:5], TRAIN[:5], paths[:5])
    write("train-00001-of-00002.parquet", TRAIN[5:], TRAIN[5:], paths[5:])
    names = [f"ILSVRC2012_val_{i:08d}_{WNIDS[label]}.JPEG" for i, label in enumerate(VAL)]
    write("validation-00000-of-00001.parquet", VAL, VAL, names)
    write("test-00000-of-00001.parquet", [-1, -1], [0, 1], ["a.JPEG", "b.JPEG"])
    return top


def shown(source: Source, split: str) -> list[int]:
    """The class that each image shows, by its colour."""
    found = []
    for i in range(len(source.splits[split].names)):
        with source.splits[split].open(i) as image:
            found.append(COLOURS.index(image.convert("RGB").getpixel((5, 5))))  # type: ignore[arg-type]
    return found


def test_every_row_gets_the_label_of_what_it_shows(imagenet_1k: Path) -> None:
    source = huggingface(str(imagenet_1k))
    assert shown(source, "train") == list(source.splits["train"].labels) == TRAIN
    assert shown(source, "val") == list(source.splits["val"].labels) == VAL


def test_rows_are_read_in_any_order(imagenet_1k: Path) -> None:
    split = huggingface(str(imagenet_1k)).splits["train"]
    for i in np.random.default_rng(0).permutation(9).tolist() * 2:
        with split.open(i) as image:
            assert image.convert("RGB").getpixel((0, 0)) == COLOURS[TRAIN[i]]


def test_wordnet_ids_are_read_from_the_names_of_training_images(imagenet_1k: Path) -> None:
    source = huggingface(str(imagenet_1k))
    assert source.classes == WNIDS
    assert source.words == WORDS


def test_a_test_set_without_labels_is_left_out_and_said(
    imagenet_1k: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = huggingface(str(imagenet_1k))
    assert source.splits.keys() == {"train", "val"}
    assert "the images of test have no labels" in caplog.text


def test_other_sets_have_the_names_of_their_labels(tmp_path: Path) -> None:
    names = ("cat", "crane", "crane")
    for split in ("train", "validation"):
        rows = table([0, 1, 2], [0, 1, 2], names, ["a.png", "b.png", "c.png"])
        pq.write_table(rows, tmp_path / f"{split}.parquet")
    source = huggingface(str(tmp_path))
    assert source.classes == ("cat", "crane (1)", "crane (2)")
    assert source.words is None


def test_a_store_is_made_of_it(imagenet_1k: Path, tmp_path: Path) -> None:
    store = cached(huggingface(str(imagenet_1k)), StoredAs(16), tmp_path / "cache", "imagenet-1k")
    assert store.splits["train"].labels.tolist() == TRAIN
    assert [COLOURS.index(tuple(i[0, 0].tolist())) for i in store.splits["val"].images()] == VAL


def test_image_folders_may_call_validation_by_its_name(image_folder: Any) -> None:
    root = image_folder({"train": {"cat": 4, "dog": 3}, "validation": {"cat": 2, "dog": 1}})
    source = huggingface(str(root))
    assert source.classes == ("cat", "dog")
    assert {name: len(split.names) for name, split in source.splits.items()} == {
        "train": 7, "val": 3,
    }  # fmt: skip


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data.source.root=.*: expected data/train-\*\.parquet"):
        huggingface(str(tmp_path))


def test_a_damaged_file_is_told(imagenet_1k: Path) -> None:
    (imagenet_1k / "data" / "train-00001-of-00002.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UsageError, match="a Parquet file is damaged"):
        huggingface(str(imagenet_1k))


def rows(labels: pa.Array) -> pa.Table:
    image = pa.StructArray.from_arrays(
        [pa.array([png(i % 3) for i in range(len(labels))], pa.binary()), pa.nulls(len(labels))],
        names=["bytes", "path"],
    )
    return pa.table({"image": image, "label": labels})


def test_labels_may_be_names(tmp_path: Path) -> None:
    named = {"train": ["shark", "cat", "great white"], "validation": ["cat", "shark"]}
    for split, labels in named.items():
        pq.write_table(rows(pa.array(labels)), tmp_path / f"{split}.parquet")
    source = huggingface(str(tmp_path))
    assert source.classes == ("cat", "great white", "shark")
    assert source.splits["train"].labels == [2, 0, 1]
    assert source.splits["val"].labels == [0, 2]


@pytest.mark.parametrize("labels", [pa.array([[0], [1, 2], [2]]), pa.array([0.0, 1.0, 2.0])])
def test_labels_of_another_kind_are_told(tmp_path: Path, labels: pa.Array) -> None:
    for split in ("train", "validation"):
        pq.write_table(rows(labels), tmp_path / f"{split}.parquet")
    with pytest.raises(UsageError, match=r"train\.parquet: label is .*; expected a number or a na"):
        huggingface(str(tmp_path))


def test_a_row_without_a_label_leaves_its_split_out(tmp_path: Path, caplog: Any) -> None:
    for split in ("train", "validation"):
        pq.write_table(rows(pa.array([0, 1, 2])), tmp_path / f"{split}.parquet")
    pq.write_table(rows(pa.array([0, None, 2])), tmp_path / "test.parquet")
    assert huggingface(str(tmp_path)).splits.keys() == {"train", "val"}
    assert "the images of test have no labels" in caplog.text
