"""ILSVRC as it is distributed: nested tar archives and a development kit, read in place.

The challenge numbers its classes by ``ILSVRC…_ID``, and the validation and test ground truth are
lists of those numbers. Labels here are positions among the sorted WordNet ids, as in a folder tree
of the same classes; the two orders differ, so the ground truth is mapped number → WordNet id →
label.
"""

import io
import logging
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import scipy.io

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.archives import (
    Labelled,
    Member,
    class_members,
    fingerprint,
    members_of,
    split_of,
)
from alexnet_repro.data.sources import Source

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """The files of one year's challenge and the numbers of images published for it."""

    year: int
    devkit: str
    meta: str
    ground_truth: dict[str, str]
    archives: dict[str, str]
    images: dict[str, int]


RELEASES = {
    2010: Release(
        year=2010,
        devkit="ILSVRC2010_devkit-1.0.tar.gz",
        meta="data/meta.mat",
        ground_truth={
            "val": "ILSVRC2010_validation_ground_truth.txt",
            "test": "ILSVRC2010_test_ground_truth.txt",
        },
        archives={
            "train": "ILSVRC2010_images_train.tar",
            "val": "ILSVRC2010_images_val.tar",
            "test": "ILSVRC2010_images_test.tar",
        },
        images={"train": 1_261_406, "val": 50_000, "test": 150_000},
    ),
    2012: Release(
        year=2012,
        devkit="ILSVRC2012_devkit_t12.tar.gz",
        meta="data/meta.mat",
        ground_truth={"val": "ILSVRC2012_validation_ground_truth.txt"},
        archives={"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"},
        images={"train": 1_281_167, "val": 50_000},
    ),
}
LARGEST_KIT = 2**30
"""Bytes that a development kit may unpack to; those of the challenge are a hundredth of it."""
PATCHES = "patch_images.tar"
"""Replacements for damaged images of ILSVRC-2010, under the names of those they replace."""


@dataclass(frozen=True)
class Synset:
    """A class of the challenge: its number there, its WordNet id and its words."""

    number: int
    wnid: str
    words: str


def imagenet(root: str, year: Literal[2010, 2012]) -> Source:
    """The images of a challenge, read from its archives in ``root`` without unpacking them.

    Expects the development kit and the archives under the names they are distributed with
    (``RELEASES``). Training images come as one tar of a tar per class, or as those class tars
    beside each other in ``root`` or ``root/train``. The test images of 2010 are used if their
    archive is there.

    Raises:
        UsageError: naming the file that is missing, damaged, or of another year.
    """
    release, top = RELEASES[year], Path(root).expanduser()
    synsets, truth = _development_kit(release, top)
    classes = tuple(sorted(synset.wnid for synset in synsets))
    label_of_wnid = {wnid: label for label, wnid in enumerate(classes)}
    label_of_number = {synset.number: label_of_wnid[synset.wnid] for synset in synsets}
    damaged: list[str] = []
    splits = {"train": _training(release, top, label_of_wnid, damaged)}
    for split, numbers in truth.items():
        if unknown := set(numbers) - label_of_number.keys():
            raise UsageError(
                f"{top / release.devkit}: {release.ground_truth[split]} names class "
                f"{min(unknown)}, which meta.mat does not have"
            )
        numbered = _numbered(_existing(top / release.archives[split]), numbers, damaged)
        splits[split] = [(member, label_of_number[number]) for member, number in numbered]
    if (top / PATCHES).is_file():
        patches = {Path(m.name).name: m for m in members_of(top / PATCHES, damaged)}
        splits = {
            split: [(patches.get(Path(m.name).name, m), label) for m, label in images]
            for split, images in splits.items()
        }
    for split, images in splits.items():
        published = release.images[split]
        if len(images) != published:
            log.warning("ILSVRC-%d %s: %d of %d images", year, split, len(images), published)
    words = {synset.wnid: synset.words for synset in synsets}
    return Source(
        classes=classes,
        splits={split: split_of(images) for split, images in splits.items()},
        fingerprint=fingerprint(splits),
        words=tuple(words[wnid] for wnid in classes),
        damaged=tuple(damaged),
    )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"data.source.root={path.parent}: there is no {path.name}")
    return path


def _development_kit(release: Release, top: Path) -> tuple[list[Synset], dict[str, list[int]]]:
    """The classes, and the ground truth of every split as numbers of classes."""
    path = _existing(top / release.devkit)
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for info in archive:
                name = Path(info.name).name
                if archive.offset > LARGEST_KIT:
                    raise UsageError(f"{path}: unpacks to more than {LARGEST_KIT // 2**20} MB")
                if info.isfile() and name in ("meta.mat", *release.ground_truth.values()):
                    file = archive.extractfile(info)
                    assert file is not None
                    contents[name] = file.read()
    except UsageError:
        raise
    except Exception as error:  # headers that are no headers can make tarfile raise anything
        raise UsageError(f"{path}: damaged ({error or type(error).__name__})") from error
    for name in release.ground_truth.values():
        if name not in contents and (top / name).is_file():
            contents[name] = (top / name).read_bytes()
    if "meta.mat" not in contents:
        raise UsageError(f"{path}: holds no {release.meta}")
    truth = {}
    for split, name in release.ground_truth.items():
        if split == "val" or (top / release.archives[split]).is_file():
            if name not in contents:
                raise UsageError(f"{path}: holds no {name}; put that file beside it")
            truth[split] = _numbers(contents[name], path, name)
    return _synsets(contents["meta.mat"], release, path), truth


def _numbers(content: bytes, path: Path, name: str) -> list[int]:
    try:
        return [int(line) for line in content.split()]
    except ValueError as error:
        raise UsageError(f"{path}: {name} holds something other than numbers ({error})") from error


def _synsets(meta: bytes, release: Release, path: Path) -> list[Synset]:
    """The synsets of ``meta.mat`` that are classes: those without children among them.

    Classes may share their words (``crane`` is a bird and a machine), but not their WordNet id.
    """
    try:
        table = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        key = next(name for name in table.dtype.names if re.fullmatch(r"ILSVRC\d{4}_ID", name))
        synsets = [
            Synset(int(row[key]), str(row["WNID"]), str(row["words"]))
            for row in table
            if int(row["num_children"]) == 0
        ]
    except Exception as error:  # a damaged file can make its reader raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: {release.meta} cannot be read ({reason})") from error
    if key != f"ILSVRC{release.year}_ID":
        raise UsageError(f"{path}: its classes are numbered by {key}, not those of {release.year}")
    for wnid, count in Counter(synset.wnid for synset in synsets).items():
        if count > 1:
            raise UsageError(f"{path}: {release.meta} has {count} classes with the id {wnid}")
    return synsets


def _training(
    release: Release, top: Path, label_of_wnid: dict[str, int], damaged: list[str]
) -> Labelled:
    images = []
    found = set()
    for wnid, member in class_members(top, release.archives["train"], damaged):
        if wnid not in label_of_wnid:
            raise UsageError(
                f"{member.archive}: class {wnid} is none of ILSVRC-{release.year}: "
                "archive and development kit are of different years"
            )
        found.add(wnid)
        images.append((member, label_of_wnid[wnid]))
    missing = label_of_wnid.keys() - found
    if missing:
        reason = f"; {damaged[0]}" if damaged else ""
        raise UsageError(
            f"{top}: {len(missing)} classes have no training images, {min(missing)} the first"
            f"{reason}"
        )
    return images


def _numbered(path: Path, numbers: list[int], damaged: list[str]) -> Iterator[tuple[Member, int]]:
    """The images of a flat archive by the number in their name, each with its ground truth.

    Files without a number and numbers without a file are added to ``damaged``.
    """
    found = {}
    for member in members_of(path, damaged):
        name = re.search(r"_(\d{8})\.\w+$", member.name)
        if name is None:
            damaged.append(f"{path.name}/{member.name} (has no image number in its name)")
        else:
            found[int(name.group(1))] = member
    if found and max(found) > len(numbers):
        raise UsageError(
            f"{path}: holds image {max(found)}, but the ground truth is for 1 to {len(numbers)}"
        )
    for image, number in enumerate(numbers, start=1):
        if image in found:
            yield found[image], number
        else:
            damaged.append(f"{path.name}: image {image} (is not there)")
