"""WebDataset shards: every image gets the label that lies beside it."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.huggingface import huggingface
from alexnet_repro.data.prepare import cached
from alexnet_repro.data.sources import Source
from alexnet_repro.data.store import StoredAs

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
WNIDS = ("n01440764", "n02012849", "n03126707")
LABELS = {"train": [2, 0, 1, 1, 0], "validation": [1, 2, 0]}


def jpeg(label: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), COLOURS[label]).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def sample(key: str, label: int, *kinds: str) -> dict[str, bytes]:
    """The files of a sample, as timm's and img2dataset's shards have them."""
    name = f"{WNIDS[label]}_{key}.JPEG"
    about = json.dumps({"label": label, "filename": name, "width": 40}).encode()
    parts = {"jpg": jpeg(label), "cls": f"{label}\n".encode(), "json": about}
    return {f"{key}.{kind}": parts[kind] for kind in kinds}


def shards(top: Path, *kinds: str) -> Path:
    """Two shards for train, one for validation."""
    for split, labels in LABELS.items():
        for number, first in enumerate(range(0, len(labels), 3)):
            files: dict[str, bytes] = {}
            for i, label in enumerate(labels[first : first + 3], start=first):
                files |= sample(f"{i:08d}", label, *kinds)
            write(top / f"imagenet1k-{split}-{number:04d}.tar", files)
    return top


def shown(source: Source, split: str) -> list[int]:
    """The class that each image shows, by its colour."""
    found = []
    for i in range(len(source.splits[split].names)):
        with source.splits[split].open(i) as image:
            pixel: Any = image.convert("RGB").getpixel((5, 5))
            distance = [sum(abs(a - b) for a, b in zip(pixel, c, strict=True)) for c in COLOURS]
            found.append(distance.index(min(distance)))
    return found


@pytest.mark.parametrize("kinds", [("cls", "jpg"), ("jpg", "json"), ("cls", "jpg", "json")])
def test_every_image_gets_the_label_beside_it(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    source = huggingface(str(shards(tmp_path, *kinds)))
    for split, name in (("train", "train"), ("val", "validation")):
        assert source.splits[split].labels == shown(source, split) == LABELS[name]
    assert source.classes == (WNIDS if "json" in kinds else ("0", "1", "2"))
    assert source.damaged == ()


@pytest.mark.parametrize(
    ("file", "content", "classes", "words"),
    [
        (
            "classnames.txt",
            "tench\ngreat white shark\ncock\n",
            "tench|great white shark|cock",
            None,
        ),
        (
            "imagenet_synsets.txt",
            "n01440764 tench, Tinca tinca\nn02012849\tcrane\nn03126707 crane\n",
            "|".join(WNIDS),
            ("tench, Tinca tinca", "crane", "crane"),
        ),
        ("_info.json", {"features": {"label": {"names": ["a", "b", "c"]}}}, "a|b|c", None),
        ("dataset_info.json", {"x": {"info": {"label_names": ["a", "b", "c"]}}}, "a|b|c", None),
    ],
)
def test_a_file_beside_the_shards_names_the_classes(
    tmp_path: Path, file: str, content: Any, classes: str, words: Any
) -> None:
    shards(tmp_path, "jpg", "cls")
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / file).write_text(text, encoding="utf-8-sig" if "txt" in file else "utf-8")
    source = huggingface(str(tmp_path))
    assert source.classes == tuple(classes.split("|"))
    assert source.words == words


def test_classes_may_be_named_by_a_file_elsewhere(tmp_path: Path) -> None:
    root = shards(tmp_path / "shards", "jpg", "cls")
    names = tmp_path / "names.txt"
    names.write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"data\.source\.classes=.*: names 2 classes, but there"):
        huggingface(str(root), str(names))
    names.write_text("a\nb\nb\n")
    with pytest.raises(UsageError, match="names the class 'b' 2 times"):
        huggingface(str(root), str(names))
    names.write_text("a\nb\nc\n")
    assert huggingface(str(root), str(names)).classes == ("a", "b", "c")


def test_what_is_no_sample_is_named_or_passed_over(tmp_path: Path, caplog: Any) -> None:
    root = shards(tmp_path, "jpg", "cls")
    files = {"a.jpg": jpeg(0), "b.cls": b"1", "c.jpg": jpeg(1), "c.cls": b"one", ".d.jpg": b""}
    write(root / "imagenet1k-train-0009.tar", files)
    with caplog.at_level("INFO"):
        source = huggingface(str(root))
    assert source.damaged == (
        "imagenet1k-train-0009.tar/a (has no number for its class)",
        "imagenet1k-train-0009.tar/c (has no number for its class)",
    )
    assert "1 hidden or system files (.d.jpg)" in caplog.text
    assert len(source.splits["train"].names) == len(LABELS["train"])


def test_a_shard_that_breaks_off_is_named(tmp_path: Path) -> None:
    path = shards(tmp_path, "jpg", "cls") / "imagenet1k-train-0000.tar"
    path.write_bytes(path.read_bytes()[:5500])
    assert "imagenet1k-train-0000.tar (" in huggingface(str(tmp_path)).damaged[0]


def test_shards_without_labels_are_told(tmp_path: Path) -> None:
    shards(tmp_path, "jpg")
    with pytest.raises(UsageError, match=r"no image of its shards has a label; imagenet1k-train"):
        huggingface(str(tmp_path))


def test_shards_of_one_split_are_a_set_to_test_on_but_not_to_train_on(tmp_path: Path) -> None:
    shards(tmp_path, "jpg", "cls")
    for path in tmp_path.glob("*train*"):
        path.unlink()
    assert huggingface(str(tmp_path)).splits.keys() == {"val"}
    shards(tmp_path / "more", "jpg", "cls")
    for path in tmp_path.glob("more/*validation*"):
        path.unlink()
    with pytest.raises(UsageError, match=r"there are training images, but no validation-\*\.tar"):
        huggingface(str(tmp_path / "more"))


def test_a_store_is_made_of_shards_in_folders(tmp_path: Path) -> None:
    shards(tmp_path / "there", "jpg", "json")
    for path in (tmp_path / "there").glob("*.tar"):
        split = path.name.split("-")[1]
        (tmp_path / "wds" / split).mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "wds" / split / f"{path.stem[-1]}.tar")
    source = huggingface(str(tmp_path / "wds"))
    store = cached(source, StoredAs(16), tmp_path / "cache", "imagenet-1k-wds")
    assert store.classes == WNIDS
    assert store.splits["train"].labels.tolist() == LABELS["train"]


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"label": -1}, "no image of its shards has a label"),
        ({"label": 10**9}, "a label is 1000000000, which can be no class's number"),
        ([1], "has no number for its class"),
        ({"label": "9" * 5000}, "has no number for its class"),
    ],
)
def test_labels_that_can_be_none_are_told(tmp_path: Path, about: Any, told: str) -> None:
    for split in ("train", "val"):
        content = json.dumps(about).encode()
        write(tmp_path / f"a-{split}-0.tar", {"a.jpg": jpeg(0), "a.json": content})
    with pytest.raises(UsageError, match=told):
        huggingface(str(tmp_path))
