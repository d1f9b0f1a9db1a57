"""Archives in the layout of the challenge, whose numbering is not the order of the WordNet ids."""

import io
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.ilsvrc import RELEASES, imagenet
from alexnet_repro.data.releases import release
from alexnet_repro.data.sources import Source

# The challenge's number, the WordNet id, its words, and the colour in which this test paints it.
SYNSETS = [
    (1, "n03000000", "teapot", (200, 30, 30)),
    (2, "n01000000", "goldfish, Carassius auratus", (30, 200, 30)),
    (3, "n02000000", "tabby, tabby cat", (30, 30, 200)),
]
INNER_NODE = (4, "n00000001", "entity", (0, 0, 0))
SORTED = ("n01000000", "n02000000", "n03000000")
COLOUR = {wnid: colour for _, wnid, _, colour in SYNSETS}
VALIDATION = [3, 1, 2, 2, 3]
TEST = [2, 2, 1]


def jpeg(wnid: str, size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, COLOUR[wnid]).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def meta(year: int) -> bytes:
    """``meta.mat`` with the fields of the development kits."""
    fields = [f"ILSVRC{year}_ID", "WNID", "words", "gloss", "num_children", "children"]
    fields += ["wordnet_height", "num_train_images"]
    table = np.zeros(len(SYNSETS) + 1, dtype=[(name, object) for name in fields])
    for row, (number, wnid, words, _) in zip(table, [*SYNSETS, INNER_NODE], strict=True):
        children = [1, 2, 3] if wnid == INNER_NODE[1] else []
        values = (number, wnid, words, "a thing", len(children), children, int(bool(children)), 2)
        for name, value in zip(fields, values, strict=True):
            row[name] = value
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"synsets": table})
    return buffer.getvalue()


def class_tars() -> dict[str, bytes]:
    return {
        f"{wnid}.tar": tar({f"{wnid}_{i}.JPEG": jpeg(wnid) for i in (7, 10)})
        for _, wnid, _, _ in SYNSETS
    }


def flat(prefix: str, truth: list[int]) -> dict[str, bytes]:
    wnid_of = {number: wnid for number, wnid, _, _ in SYNSETS}
    names = {f"{prefix}_{i:08d}.JPEG": jpeg(wnid_of[n]) for i, n in enumerate(truth, start=1)}
    # An archive need not be in the order of the numbers.
    return dict(reversed(names.items()))


def lines(numbers: list[int]) -> bytes:
    return "".join(f"{number}\n" for number in numbers).encode()


@pytest.fixture
def distributed(tmp_path: Path) -> Callable[[int], Path]:
    """Writes the archives of a year and returns their folder."""

    def write(year: int) -> Path:
        challenge = RELEASES[year]
        top = tmp_path / str(year)
        top.mkdir()
        kit = {"data/meta.mat": meta(year)}
        kit[f"data/{challenge.ground_truth['val']}"] = lines(VALIDATION)
        folder = challenge.devkit.removesuffix(".tar.gz")
        kit = {f"{folder}/{name}": content for name, content in kit.items()}
        (top / challenge.devkit).write_bytes(tar(kit, "w:gz"))
        (top / challenge.archives["train"]).write_bytes(tar(class_tars()))
        val = flat(f"ILSVRC{year}_val", VALIDATION)
        if year == 2010:
            val = {f"val/{name}": content for name, content in val.items()}
            test = {f"test/{n}": c for n, c in flat("ILSVRC2010_test", TEST).items()}
            (top / challenge.archives["test"]).write_bytes(tar(test))
            (top / challenge.ground_truth["test"]).write_bytes(lines(TEST))
        (top / challenge.archives["val"]).write_bytes(tar(val))
        return top

    return write


def painted(source: Source, split: str) -> list[str]:
    """The WordNet id that each image of a split shows, by its colour."""
    shown = []
    for i in range(len(source.splits[split].names)):
        with source.splits[split].open(i) as image:
            colour = np.asarray(image.convert("RGB"), dtype=float).mean(axis=(0, 1))
        distance = {w: np.abs(colour - c).sum() for w, c in COLOUR.items()}
        shown.append(min(distance, key=lambda wnid: distance[wnid]))
    return shown


@pytest.mark.parametrize("year", [2010, 2012])
def test_every_image_gets_the_label_of_what_it_shows(
    distributed: Callable[[int], Path], year: int
) -> None:
    source = imagenet(str(distributed(year)), year)
    assert source.classes == SORTED
    assert source.words is not None
    assert source.words[0] == "goldfish, Carassius auratus"
    for split, count in {"train": 6, "val": 5, **({"test": 3} if year == 2010 else {})}.items():
        labels = source.splits[split].labels
        assert len(labels) == count
        assert [source.classes[label] for label in labels] == painted(source, split)


def test_validation_ground_truth_is_numbers_of_the_challenge_not_sorted_positions(
    distributed: Callable[[int], Path],
) -> None:
    source = imagenet(str(distributed(2012)), 2012)
    naive = [number - 1 for number in VALIDATION]
    assert list(source.splits["val"].labels) != naive
    assert list(source.splits["val"].labels) == [1, 2, 0, 0, 1]


def test_class_tars_beside_each_other_are_the_same_as_one_tar_of_them(
    distributed: Callable[[int], Path],
) -> None:
    top = distributed(2012)
    whole = imagenet(str(top), 2012)
    (top / RELEASES[2012].archives["train"]).unlink()
    (top / "train").mkdir()
    for name, content in class_tars().items():
        (top / "train" / name).write_bytes(content)
    separate = imagenet(str(top), 2012)
    assert set(separate.splits["train"].names) == set(whole.splits["train"].names)
    labels = separate.splits["train"].labels
    assert [SORTED[label] for label in labels] == painted(separate, "train")


def test_patch_images_replace_those_of_the_same_name(distributed: Callable[[int], Path]) -> None:
    top = distributed(2010)
    patch = {"patch_images/train/n02000000_7.JPEG": jpeg("n02000000", size=(64, 64))}
    (top / "patch_images.tar").write_bytes(tar(patch))
    train = imagenet(str(top), 2010).splits["train"]
    sizes = {Path(name).name: train.open(i).size for i, name in enumerate(train.names)}
    assert sizes.pop("n02000000_7.JPEG") == (64, 64)
    assert set(sizes.values()) == {(40, 30)}


def test_a_difference_from_the_published_counts_is_said(
    distributed: Callable[[int], Path], caplog: pytest.LogCaptureFixture
) -> None:
    imagenet(str(distributed(2012)), 2012)
    assert "ILSVRC-2012 train: 6 of 1281167 images" in caplog.text
    assert "ILSVRC-2012 val: 5 of 50000 images" in caplog.text


def test_an_archive_of_another_year_is_refused(distributed: Callable[[int], Path]) -> None:
    of_2010, of_2012 = distributed(2010), distributed(2012)
    kit_2010 = (of_2010 / RELEASES[2010].devkit).read_bytes()
    (of_2012 / RELEASES[2012].devkit).write_bytes(_renamed_truth(kit_2010))
    with pytest.raises(UsageError, match="numbered by ILSVRC2010_ID, not those of 2012"):
        imagenet(str(of_2012), 2012)


def _renamed_truth(kit: bytes) -> bytes:
    """The same development kit with its ground truth under the name of 2012."""
    with tarfile.open(fileobj=io.BytesIO(kit)) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    return tar({n.replace("ILSVRC2010_val", "ILSVRC2012_val"): c for n, c in files.items()}, "w:gz")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("ILSVRC2012_devkit_t12.tar.gz", "there is no ILSVRC2012_devkit_t12.tar.gz"),
        ("ILSVRC2012_img_train.tar", "neither ILSVRC2012_img_train.tar nor a tar per class"),
        ("ILSVRC2012_img_val.tar", "there is no ILSVRC2012_img_val.tar"),
    ],
)
def test_a_missing_file_is_named(
    distributed: Callable[[int], Path], file: str, message: str
) -> None:
    top = distributed(2012)
    (top / file).unlink()
    with pytest.raises(UsageError, match=message):
        imagenet(str(top), 2012)


@pytest.mark.parametrize("file", ["ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_img_train.tar"])
def test_a_truncated_archive_is_named(distributed: Callable[[int], Path], file: str) -> None:
    path = distributed(2012) / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(UsageError) as refused:
        imagenet(str(path.parent), 2012)
    assert file in str(refused.value)
    assert "\n" not in str(refused.value)


def sizes(path: Path) -> list[int]:
    """Where every member of a tar ends."""
    with tarfile.open(path) as archive:
        return [m.offset_data + (m.size + 511) // 512 * 512 for m in archive]


@pytest.mark.parametrize("where", ["in an image", "between images"])
def test_images_before_the_break_are_read_and_missing_ones_listed(
    distributed: Callable[[int], Path], where: str
) -> None:
    top = distributed(2012)
    path = top / "ILSVRC2012_img_val.tar"
    end = sizes(path)[2] - (600 if where == "in an image" else 0)
    path.write_bytes(path.read_bytes()[:end])
    source = imagenet(str(top), 2012)
    assert any("ILSVRC2012_img_val.tar (" in line for line in source.damaged)
    # The archive holds its images from the last to the first.
    assert [f"image {i} (is not there)" in str(source.damaged) for i in range(1, 6)] == [
        True, True, False, False, False,
    ]  # fmt: skip
    whole = source.splits["val"].labels
    assert list(whole) == [2, 0, 0, 1][-len(whole) :]


def test_a_class_archive_that_breaks_off_is_listed(fall: Path) -> None:
    path = fall / "n01000000.tar"
    path.write_bytes(path.read_bytes()[: sizes(path)[3]])
    source = of_release(fall)
    assert len(source.damaged) == 1
    assert source.damaged[0].startswith("n01000000.tar (breaks off at byte")
    assert sum(split.labels.count(0) for split in source.splits.values()) == 4  # type: ignore[attr-defined]


def test_an_archive_with_a_damaged_header_is_listed(fall: Path) -> None:
    path = fall / "n01000000.tar"
    content = bytearray(path.read_bytes())
    at = sizes(path)[3]
    content[at : at + 512] = b"x" * 512
    path.write_bytes(content)
    assert of_release(fall).damaged[0].startswith("n01000000.tar (breaks off at byte")


def test_an_empty_archive_is_listed(fall: Path) -> None:
    (fall / "n01999999.tar").write_bytes(b"")
    assert of_release(fall).damaged == (
        "n01999999.tar (damaged or incomplete archive: empty file)",
    )  # fmt: skip


def test_whole_archives_have_no_damage(distributed: Callable[[int], Path], fall: Path) -> None:
    assert imagenet(str(distributed(2010)), 2010).damaged == ()
    assert imagenet(str(distributed(2012)), 2012).damaged == ()
    assert of_release(fall).damaged == ()


def test_an_image_where_none_should_be_is_listed(distributed: Callable[[int], Path]) -> None:
    top = distributed(2012)
    stray = class_tars() | {"stray.JPEG": jpeg("n01000000")}
    (top / RELEASES[2012].archives["train"]).write_bytes(tar(stray))
    val = flat("ILSVRC2012_val", VALIDATION) | {"Thumbs.JPEG": jpeg("n01000000")}
    (top / RELEASES[2012].archives["val"]).write_bytes(tar(val))
    source = imagenet(str(top), 2012)
    assert source.damaged == (
        "ILSVRC2012_img_train.tar/stray.JPEG (lies in no tar of a class)",
        "ILSVRC2012_img_val.tar/Thumbs.JPEG (has no image number in its name)",
    )
    assert len(source.splits["train"].names) == 6
    assert len(source.splits["val"].names) == 5


def test_two_archives_of_one_class_are_refused(fall: Path) -> None:
    (fall / "train").mkdir()
    (fall / "train" / "n02000000.tar").write_bytes((fall / "n02000000.tar").read_bytes())
    with pytest.raises(UsageError, match="a second archive of class n02000000"):
        of_release(fall)


def test_classes_may_share_their_words_but_not_their_id(
    distributed: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cranes = [(*synset[:2], "crane", synset[3]) for synset in SYNSETS]
    monkeypatch.setattr(sys.modules[__name__], "SYNSETS", cranes)
    source = imagenet(str(distributed(2010)), 2010)
    assert source.words == ("crane",) * 3
    assert source.classes == SORTED
    doubled = [cranes[0], (2, *cranes[0][1:]), cranes[2]]
    monkeypatch.setattr(sys.modules[__name__], "SYNSETS", doubled)
    with pytest.raises(UsageError, match="2 classes with the id n03000000"):
        imagenet(str(distributed(2012)), 2012)


def test_validation_images_without_ground_truth_are_refused(
    distributed: Callable[[int], Path],
) -> None:
    top = distributed(2012)
    one_more = flat("ILSVRC2012_val", [*VALIDATION, 1])
    (top / RELEASES[2012].archives["val"]).write_bytes(tar(one_more))
    with pytest.raises(UsageError, match="holds image 6, but the ground truth is for 1 to 5"):
        imagenet(str(top), 2012)


def test_a_class_of_another_challenge_is_refused(distributed: Callable[[int], Path]) -> None:
    top = distributed(2012)
    foreign = class_tars() | {"n09999999.tar": tar({"n09999999_1.JPEG": jpeg("n01000000")})}
    (top / RELEASES[2012].archives["train"]).write_bytes(tar(foreign))
    with pytest.raises(UsageError, match="class n09999999 is none of ILSVRC-2012"):
        imagenet(str(top), 2012)


def test_a_class_without_training_images_is_named(distributed: Callable[[int], Path]) -> None:
    top = distributed(2012)
    fewer = {name: content for name, content in class_tars().items() if "n02" not in name}
    (top / RELEASES[2012].archives["train"]).write_bytes(tar(fewer))
    with pytest.raises(UsageError, match="1 classes have no training images, n02000000 the first"):
        imagenet(str(top), 2012)


# Whole releases: one tar per synset, no splits


@pytest.fixture
def fall(tmp_path: Path) -> Path:
    """Three classes with 11, 6 and 1 images."""
    top = tmp_path / "fall"
    top.mkdir()
    for wnid, count in zip(SORTED, (11, 6, 1), strict=True):
        images = {f"{wnid}_{i}.JPEG": jpeg(wnid) for i in range(count)}
        (top / f"{wnid}.tar").write_bytes(tar(images))
    return top


def of_release(top: Path, held_out: float = 0.5, min_images: int = 1, seed: int = 0) -> Source:
    return release(str(top), "fall11_whole.tar", held_out, min_images, seed)


def test_half_of_every_class_is_held_out(fall: Path) -> None:
    source = of_release(fall)
    assert source.classes == SORTED
    held = [source.splits["val"].labels.count(label) for label in range(3)]
    trained = [source.splits["train"].labels.count(label) for label in range(3)]
    assert held == [6, 3, 0]
    assert [h + t for h, t in zip(held, trained, strict=True)] == [11, 6, 1]
    for split in ("train", "val"):
        shown = painted(source, split)
        assert [SORTED[label] for label in source.splits[split].labels] == shown
    assert not set(source.splits["train"].names) & set(source.splits["val"].names)


def test_the_split_is_the_documented_draw(fall: Path) -> None:
    names = sorted(f"n02000000_{i}.JPEG" for i in range(6))
    draw = np.random.default_rng([7, 2000000]).permutation(6)[:3]
    held = {name for name in of_release(fall, seed=7).splits["val"].names if "n02" in name}
    assert held == {names[i] for i in draw}


def test_the_split_of_a_class_does_not_depend_on_other_classes(fall: Path) -> None:
    before = [name for name in of_release(fall).splits["val"].names if "n02" in name]
    (fall / "n01000000.tar").unlink()
    assert [name for name in of_release(fall).splits["val"].names if "n02" in name] == before


def test_one_tar_of_all_class_tars_gives_the_same_split(fall: Path) -> None:
    separate = of_release(fall)
    parts = {path.name: path.read_bytes() for path in sorted(fall.glob("n*.tar"))}
    for path in fall.glob("n*.tar"):
        path.unlink()
    (fall / "fall11_whole.tar").write_bytes(tar(parts))
    whole = of_release(fall)
    for split in ("train", "val"):
        assert whole.splits[split].names == separate.splits[split].names
        assert [SORTED[label] for label in whole.splits[split].labels] == painted(whole, split)


def test_classes_with_too_few_images_are_left_out(fall: Path) -> None:
    assert of_release(fall, min_images=2).classes == SORTED[:2]
    with pytest.raises(UsageError, match="min_images=7: 1 of 3 classes have as many"):
        of_release(fall, min_images=7)
