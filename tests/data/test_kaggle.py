"""Kaggle's files give one set, whether they are unpacked, zipped or tarred and gzipped."""

import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data import gunzipped
from alexnet_repro.data.gunzipped import Gunzipped
from alexnet_repro.data.ilsvrc import imagenet
from alexnet_repro.data.prepare import prepare
from alexnet_repro.data.sources import Source
from alexnet_repro.data.store import StoredAs, open_store

from .test_ilsvrc import SORTED, SYNSETS, distributed, jpeg, painted

TRUTH = ["n03000000", "n01000000", "n02000000", "n02000000", "n03000000"]
WORDS = {wnid: words for _, wnid, words, _ in SYNSETS}
CLS_LOC = "ILSVRC/Data/CLS-LOC"
ZIP = "imagenet-object-localization-challenge.zip"
TAR = "imagenet_object_localization_patched2019.tar.gz"
__all__ = ["distributed"]  # a fixture
Layout = Callable[[Path], Path]


def kaggle_files() -> dict[str, bytes]:
    """What the challenge's zip holds, but for its size."""
    names = [f"ILSVRC2012_val_{i:08d}" for i in range(1, len(TRUTH) + 1)]
    rows = [f"{n},{wnid} 1 2 30 40 {wnid} 5 6 7 8 " for n, wnid in zip(names, TRUTH, strict=True)]
    files = {
        "LOC_sample_submission.csv": b"ImageId,PredictionString\n",
        "LOC_synset_mapping.txt": "".join(f"{w} {WORDS[w]}\n" for w in SORTED).encode(),
        "LOC_val_solution.csv": "\n".join(["ImageId,PredictionString", *reversed(rows)]).encode(),
        f"{CLS_LOC}/test/ILSVRC2012_test_00000001.JPEG": jpeg("n01000000"),
        "ILSVRC/ImageSets/CLS-LOC/val.txt": b"ILSVRC2012_val_00000001 1\n",
        "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml": b"<annotation/>",
    }
    for name, wnid in reversed(list(zip(names, TRUTH, strict=True))):
        files[f"{CLS_LOC}/val/{name}.JPEG"] = jpeg(wnid)
    for wnid in reversed(SORTED):
        for i in (7, 10):
            files[f"{CLS_LOC}/train/{wnid}/{wnid}_{i}.JPEG"] = jpeg(wnid)
    return files


def unpacked(top: Path) -> Path:
    for name, content in kaggle_files().items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    return top


def images_alone(top: Path) -> Path:
    """The root is the folder of the images itself; the texts lie above it."""
    return unpacked(top) / CLS_LOC


def zipped(top: Path) -> Path:
    with zipfile.ZipFile(top / ZIP, "w") as archive:
        for number, (name, content) in enumerate(kaggle_files().items()):
            kind = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            archive.writestr(name, content, kind)
        archive.writestr(f"__MACOSX/{CLS_LOC}/train/n01000000/._n01000000_7.JPEG", b"resource fork")
    return top


def zip_itself(top: Path) -> Path:
    return zipped(top) / ZIP


def gzipped(top: Path) -> Path:
    with tarfile.open(top / TAR, "w:gz") as archive:
        for name, content in kaggle_files().items():
            if name.startswith("ILSVRC"):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                (top / name).write_bytes(content)
    return top


LAYOUTS = [unpacked, images_alone, zipped, zip_itself, gzipped]


def labelled(source: Source) -> dict[str, list[tuple[str, int]]]:
    return {
        split: [(Path(n).name, label) for n, label in zip(one.names, one.labels, strict=True)]
        for split, one in source.splits.items()
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_image_gets_the_label_of_what_it_shows(tmp_path: Path, layout: Layout) -> None:
    source = imagenet(str(layout(tmp_path)), 2012)
    assert source.classes == SORTED
    assert source.words == tuple(WORDS[wnid] for wnid in SORTED)
    assert source.damaged == ()
    for split, count in (("train", 6), ("val", 5)):
        assert [SORTED[label] for label in source.splits[split].labels] == painted(source, split)
        assert len(source.splits[split].labels) == count
    assert source.splits.keys() == {"train", "val"}
    assert [SORTED[label] for label in source.splits["val"].labels] == TRUTH


def test_all_layouts_give_the_same_store(tmp_path: Path) -> None:
    contents = []
    for layout in LAYOUTS:
        top = tmp_path / layout.__name__
        top.mkdir()
        source = imagenet(str(layout(top)), 2012)
        store = open_store(prepare(source, StoredAs(16), top / "store"))
        images = [i.tobytes() for split in store.splits.values() for i in split.images()]
        contents.append((labelled(source), store.classes, store.words, images))
    assert contents == [contents[0]] * len(LAYOUTS)


@pytest.mark.parametrize("layout", [unpacked, gzipped])
def test_a_missing_solution_is_named(tmp_path: Path, layout: Layout) -> None:
    root = layout(tmp_path)
    (tmp_path / "LOC_val_solution.csv").unlink()
    with pytest.raises(UsageError, match=r"there is no LOC_val_solution\.csv, which says what the"):
        imagenet(str(root), 2012)


def test_validation_images_in_folders_of_their_classes_need_no_solution(tmp_path: Path) -> None:
    root = unpacked(tmp_path)
    (root / "LOC_val_solution.csv").unlink()
    val = root / CLS_LOC / "val"
    for name, wnid in zip(sorted(path.name for path in val.iterdir()), TRUTH, strict=True):
        (val / wnid).mkdir(exist_ok=True)
        (val / name).rename(val / wnid / name)
    source = imagenet(str(root), 2012)
    assert [SORTED[label] for label in source.splits["val"].labels] == TRUTH


def test_what_is_missing_or_has_no_line_is_listed(tmp_path: Path) -> None:
    val = unpacked(tmp_path) / CLS_LOC / "val"
    (val / "ILSVRC2012_val_00000002.JPEG").rename(val / "ILSVRC2012_val_00000009.JPEG")
    assert imagenet(str(tmp_path), 2012).damaged == (
        "CLS-LOC: image ILSVRC2012_val_00000002 (is not there)",
        "val/ILSVRC2012_val_00000009.JPEG (has no line in LOC_val_solution.csv)",
    )


def test_classes_of_the_mapping_need_images_and_images_a_class(tmp_path: Path) -> None:
    train = unpacked(tmp_path) / CLS_LOC / "train"
    (train / "n02000000").rename(train / "n09000000")
    with pytest.raises(UsageError, match="there are train images of n09000000, not a class"):
        imagenet(str(tmp_path), 2012)
    shutil.rmtree(train / "n09000000")
    with pytest.raises(UsageError, match="1 classes have no training images, n02000000 the first"):
        imagenet(str(tmp_path), 2012)


@pytest.mark.parametrize(("layout", "file"), [(zipped, ZIP), (gzipped, TAR)])
def test_an_archive_that_breaks_off_is_named(tmp_path: Path, layout: Layout, file: str) -> None:
    path = layout(tmp_path) / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    with pytest.raises(UsageError, match=rf"{file} \(damaged or incomplete archive: "):
        imagenet(str(tmp_path), 2012)


def test_a_folder_without_any_layout_is_told_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as told:
        imagenet(str(tmp_path), 2012)
    for part in ("ILSVRC2012_devkit_t12.tar.gz", CLS_LOC, ZIP, "train/WNID and val/WNID"):
        assert part in str(told.value)


@pytest.mark.parametrize("words", ["LOC_synset_mapping.txt", "ILSVRC2012_devkit_t12.tar.gz", None])
def test_a_tree_of_class_folders_has_the_words_of_what_lies_beside_it(
    tmp_path: Path, distributed: Callable[[int], Path], words: str | None
) -> None:
    root = tmp_path / "tree"
    for split in ("train", "val"):
        for wnid in SORTED:
            (root / split / wnid).mkdir(parents=True)
            (root / split / wnid / "1.JPEG").write_bytes(jpeg(wnid))
    without = imagenet(str(root), 2012)
    assert without.words is None
    if words == "LOC_synset_mapping.txt":
        (root / words).write_bytes(kaggle_files()[words])
    elif words is not None:
        shutil.copy2(distributed(2012) / words, root)
    source = imagenet(str(root), 2012)
    assert source.words == (tuple(WORDS[wnid] for wnid in SORTED) if words else None)
    assert (source.fingerprint == without.fingerprint) == (words is None)
    assert [SORTED[label] for label in source.splits["val"].labels] == painted(source, "val")


# Reading a gzip file from any place


@pytest.mark.parametrize("members", [1, 3])
def test_a_gzip_file_is_read_from_any_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: int
) -> None:
    monkeypatch.setattr(gunzipped, "STEP", 50_000)
    rng = np.random.default_rng(0)
    parts = [
        rng.integers(0, 6, 300_000 // members, dtype=np.uint8).tobytes() for _ in range(members)
    ]
    content = b"".join(parts)
    (tmp_path / "a.gz").write_bytes(b"".join(map(gzip.compress, parts)) + bytes(7))
    file = io.BufferedReader(Gunzipped(tmp_path / "a.gz"))
    assert file.read() == content
    for start in (*rng.integers(0, len(content), 200).tolist(), 0, len(content) - 1, len(content)):
        size = int(rng.integers(1, 80_000))
        file.seek(start)
        assert file.read(size) == content[start : start + size]


def test_a_gzip_file_that_breaks_off_says_so(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(256, size=200_000, dtype=np.uint8).tobytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(content)[:100_000])
    file = io.BufferedReader(Gunzipped(tmp_path / "a.gz"))
    assert file.read(50_000) == content[:50_000]
    with pytest.raises(EOFError, match="breaks off"):
        file.read()
