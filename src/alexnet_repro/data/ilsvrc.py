"""ILSVRC as it is distributed, read in place: nested tars and a development kit, or Kaggle's files.

The challenge numbers its classes by ``ILSVRC…_ID``, and the validation and test ground truth are
lists of those numbers. Labels here are positions among the sorted WordNet ids, as in a folder tree
of the same classes; the two orders differ, so the ground truth is mapped number → WordNet id →
label.
"""

import hashlib
import io
import logging
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

import scipy.io

from alexnet_repro.base.errors import UsageError, one_line
from alexnet_repro.base.files import user_path
from alexnet_repro.data.kaggle import kaggle, place_of_images
from alexnet_repro.data.listing import File, Notes, images
from alexnet_repro.data.sources import ByClass, Labelled, Source, folder
from alexnet_repro.data.words import class_words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """The files of one year's challenge and the numbers of images published for it."""

    year: int
    devkit: str
    ground_truth: dict[str, str]
    archives: dict[str, str]
    images: dict[str, int]


RELEASES = {
    2010: Release(
        year=2010,
        devkit="ILSVRC2010_devkit-1.0.tar.gz",
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
class Kit:
    """What a development kit says.

    Attributes:
        words: of each class, by its WordNet id.
        wnid: of each class, by its number in the challenge.
        truth: the numbers of the images of each split, in order.
    """

    words: dict[str, str]
    wnid: dict[int, str]
    truth: dict[str, list[int]]


def imagenet(root: str, year: Literal[2010, 2012], words: str | None = None) -> Source:
    """The images of a challenge, in the layout that ``root`` has them in; nothing is unpacked.

    - The archives and the development kit, under the names they are distributed with
      (``RELEASES``). Training images come as one tar of a tar per class, or as those class tars
      beside each other in ``root`` or ``root/train``. The test images of 2010 are used if their
      archive is there.
    - Kaggle's files (``data.kaggle``), unpacked, as a zip, or as the ``.tar.gz`` of the images.
    - ``train/WNID`` and ``val/WNID``, as scripts leave them; words are those of a development kit
      or another file beside them.

    Args:
        words: a file with a line ``WNID words`` for each class, instead of those found.

    Raises:
        UsageError: naming the file that is missing, damaged, or of another year.
    """
    release, top = RELEASES[year], user_path(root)
    place = place_of_images(top) if year == 2012 else None
    of_tars = (top / release.archives["train"]).is_file() or _separate_tars(top)
    if of_tars or (place is None and not (top / "train").is_dir()):
        source = _of_archives(release, top, words)
        log.info("%s: the archives of ILSVRC-%d", top, year)
    elif place is not None:
        source = kaggle(place, words)
        log.info("%s: ILSVRC-%d as Kaggle has it", place, year)
    else:
        source = _of_folders(release, top, words)
        log.info("%s: folders of the classes of ILSVRC-%d", top, year)
    for split, published in release.images.items():
        if split in source.splits and (found := len(source.splits[split].names)) != published:
            log.warning("ILSVRC-%d %s: %d of %d images", year, split, found, published)
    return source


def _of_folders(release: Release, top: Path, words: str | None) -> Source:
    source = folder(str(top), words=words)
    if source.words is None and (top / release.devkit).is_file():
        said = development_kit(release, top).words
        if all(wnid in said for wnid in source.classes):
            found = tuple(said[wnid] for wnid in source.classes)
            key = hashlib.sha256(repr((source.fingerprint, found)).encode()).hexdigest()
            source = replace(source, words=found, fingerprint=key)
    return source


def _of_archives(release: Release, top: Path, given: str | None) -> Source:
    notes = Notes()
    own = (release.devkit, *release.archives.values())
    if not any((top / name).is_file() for name in own) and not _separate_tars(top):
        raise UsageError(
            f"data.source.root={top}: there is no {release.devkit} with the other archives of "
            f"ILSVRC-{release.year}, nor Kaggle's ILSVRC/Data/CLS-LOC or "
            "imagenet-object-localization-challenge.zip, nor train/WNID and val/WNID"
        )
    kit = development_kit(release, top)
    classes = tuple(sorted(kit.words))
    splits: dict[str, Labelled] = {"train": []}
    for wnid, found in class_tars(top, release.archives["train"], notes).items():
        if wnid not in kit.words:
            raise UsageError(
                f"{top}: class {wnid} is none of ILSVRC-{release.year}: archive and development "
                "kit are of different years"
            )
        splits["train"] += [(file, wnid) for file in found]
    for split, numbers in kit.truth.items():
        if unknown := set(numbers) - kit.wnid.keys():
            raise UsageError(
                f"{top / release.devkit}: {release.ground_truth[split]} names class "
                f"{min(unknown)}, which meta.mat does not have"
            )
        numbered = _numbered(_existing(top / release.archives[split]), numbers, notes)
        splits[split] = [(file, kit.wnid[number]) for file, number in numbered]
    if (top / PATCHES).is_file():
        patches = {PurePath(file.name).name: file for _, file in images(top / PATCHES, notes)}
        for split, labelled in splits.items():
            named = [(PurePath(file.name).name, file, wnid) for file, wnid in labelled]
            splits[split] = [(patches.get(name, file), wnid) for name, file, wnid in named]
    notes.tell(top)
    said = class_words(top, classes, given) if given else tuple(kit.words[c] for c in classes)
    return Source.of(classes, splits, notes, said)


def class_tars(top: Path, whole: str, notes: Notes) -> ByClass:
    """The images of each class: of ``whole``, a tar of a tar per class, or of such tars in ``top``.

    An image that lies in no tar of a class is damaged.

    Raises:
        UsageError: if there is no such tar, or if two are of one class.
    """
    of_tar: dict[PurePath, list[File]] = {}
    if (top / whole).is_file():
        for path, file in images(top / whole, notes):
            tar, nested, _ = path.partition(".tar/")
            if nested:
                of_tar.setdefault(PurePath(tar), []).append(file)
            else:
                notes.damaged.append(f"{whole}/{file.name} (lies in no tar of a class)")
    else:
        for one in _separate_tars(top):
            of_tar[one.with_suffix("")] = [file for _, file in images(one, notes)]
        if not of_tar:
            raise UsageError(
                f"data.source.root={top}: there is neither {whole} nor a tar per class"
            )
    of_class = ByClass()
    for place, found in of_tar.items():
        if place.name in of_class:
            raise UsageError(f"{top}: a second archive of class {place.name}; remove one of them")
        of_class[place.name] = found
    return of_class


def _separate_tars(top: Path) -> list[Path]:
    return sorted([*top.glob("n[0-9]*.tar"), *top.glob("train/n[0-9]*.tar")])


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise UsageError(f"data.source.root={path.parent}: there is no {path.name}")
    return path


def development_kit(release: Release, top: Path) -> Kit:
    """The classes, and the ground truth of every split whose images are there."""
    path = _existing(top / release.devkit)
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for info in archive:
                name = PurePath(info.name).name
                if archive.offset > LARGEST_KIT:
                    raise UsageError(f"{path}: unpacks to more than {LARGEST_KIT // 2**20} MB")
                if info.isfile() and name in ("meta.mat", *release.ground_truth.values()):
                    file = archive.extractfile(info)
                    assert file is not None
                    contents[name] = file.read()
    except UsageError:
        raise
    except Exception as error:  # headers that are no headers can make tarfile raise anything
        raise UsageError(f"{path}: damaged ({one_line(error)})") from error
    for name in release.ground_truth.values():
        if name not in contents and (top / name).is_file():
            contents[name] = (top / name).read_bytes()
    if "meta.mat" not in contents:
        raise UsageError(f"{path}: holds no meta.mat")
    truth = {}
    for split, name in release.ground_truth.items():
        if split == "val" or (top / release.archives[split]).is_file():
            if name not in contents:
                raise UsageError(f"{path}: holds no {name}; put that file beside it")
            truth[split] = _numbers(contents[name], path, name)
    return Kit(*_synsets(contents["meta.mat"], release, path), truth)


def _numbers(content: bytes, path: Path, name: str) -> list[int]:
    try:
        return [int(line) for line in content.split()]
    except ValueError as error:
        raise UsageError(f"{path}: {name} holds something other than numbers ({error})") from error


def _synsets(meta: bytes, release: Release, path: Path) -> tuple[dict[str, str], dict[int, str]]:
    """Words by WordNet id and ids by number, of the synsets of ``meta.mat`` without children.

    Classes may share their words (``crane`` is a bird and a machine), but not their WordNet id.
    """
    try:
        table = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        key = next(name for name in table.dtype.names if re.fullmatch(r"ILSVRC\d{4}_ID", name))
        rows = [row for row in table if int(row["num_children"]) == 0]
        wnid = {int(row[key]): str(row["WNID"]) for row in rows}
        words = {str(row["WNID"]): str(row["words"]) for row in rows}
    except Exception as error:  # a damaged file can make its reader raise anything
        raise UsageError(f"{path}: meta.mat cannot be read ({one_line(error)})") from error
    if key != f"ILSVRC{release.year}_ID":
        raise UsageError(f"{path}: its classes are numbered by {key}, not those of {release.year}")
    for name, count in Counter(wnid.values()).items():
        if count > 1:
            raise UsageError(f"{path}: meta.mat has {count} classes with the id {name}")
    return words, wnid


def _numbered(path: Path, numbers: list[int], notes: Notes) -> Iterator[tuple[File, int]]:
    """The images of a flat archive by the number in their name, each with its ground truth.

    Files without a number and numbers without a file are damaged.
    """
    found = {}
    for _, file in images(path, notes):
        name = re.search(r"_(\d{8})\.\w+$", file.name)
        if name is None:
            notes.damaged.append(f"{path.name}/{file.name} (has no image number in its name)")
        else:
            found[int(name.group(1))] = file
    if found and max(found) > len(numbers):
        raise UsageError(
            f"{path}: holds image {max(found)}, but the ground truth is for 1 to {len(numbers)}"
        )
    for image, number in enumerate(numbers, start=1):
        if image in found:
            yield found[image], number
        else:
            notes.damaged.append(f"{path.name}: image {image} (is not there)")
