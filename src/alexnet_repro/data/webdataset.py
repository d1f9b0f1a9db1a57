"""WebDataset shards: tars in which ``KEY.jpg`` lies beside ``KEY.cls`` or ``KEY.json``."""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path
from alexnet_repro.data.listing import HIDDEN, NO_IMAGE, File, Notes, files, is_hidden, is_image
from alexnet_repro.data.sources import Source
from alexnet_repro.data.words import distinct, named_classes

log = logging.getLogger(__name__)

NAMES_FILES = ("classnames.txt", "classes.txt", "imagenet_synsets.txt", "synset_words.txt")
"""Files beside shards that name the classes, a line each in the order of the labels."""
MOST_CLASSES = 1_000_000
INFO_FILES = ("_info.json", "info.json", "dataset_info.json")


def webdataset(top: Path, shards: dict[str, list[Path]], classes: str | None) -> Source:
    """The images of the shards of each split.

    A label is a number, in ``KEY.cls`` or under ``label`` or ``cls`` of ``KEY.json``. The classes
    are those that a file beside the shards names; or the WordNet ids with which the names of all
    training images begin; or the numbers.

    Args:
        classes: file that names them, a line each (see :func:`words.named_classes`).

    Raises:
        UsageError: if there is no label, or no name for one.
    """
    notes, samples = Notes(), dict[str, list[tuple[str, File, int]]]()
    for split, paths in shards.items():
        found = [one for path in paths for one in _samples(path, notes)]
        if found and min(label for _, _, label in found) >= 0:
            samples[split] = found
        else:
            log.warning("%s: the images of %s have no labels: left out", top, split)
    if not samples:
        raise UsageError(f"{top}: no image of its shards has a label; {[*notes.damaged, ''][0]}")
    count = 1 + max(label for found in samples.values() for _, _, label in found)
    names, words = class_names(top, count, classes)
    if names is None and "train" in samples:
        keys, _, labels = zip(*samples["train"], strict=True)
        names = wordnet_ids(keys, labels, count)
    names = names or numbered(count)
    splits = {
        split: [(file, names[label]) for _, file, label in found]
        for split, found in samples.items()
    }
    notes.tell(top)
    return Source.of(names, splits, notes, words)


def _samples(shard: Path, notes: Notes) -> Iterator[tuple[str, File, int]]:
    """The name, image and label of every sample, in the order of the shard."""
    samples: dict[str, dict[str, File]] = {}
    for path, file in files(shard, notes):
        if is_hidden(path):
            notes.pass_over(path, HIDDEN)
        else:
            above, _, name = path.rpartition("/")
            key, _, extension = name.partition(".")
            samples.setdefault(f"{above}/{key}", {})[extension.lower()] = file
    for key, parts in samples.items():
        image = next((file for kind, file in parts.items() if is_image(f"{key}.{kind}")), None)
        try:
            about = json.loads(parts["json"].read()) if "json" in parts else {}
            written: Any = about.get("label", about.get("cls"))
            number = int(parts["cls"].read() if "cls" in parts else written)
        except (ValueError, TypeError, AttributeError, RecursionError):
            notes.damaged.append(f"{shard.name}/{key.lstrip('/')} (has no number for its class)")
            continue
        if image is None:
            notes.pass_over(key, NO_IMAGE)
        else:
            yield str(about.get("filename", PurePath(key).name)), image, number


def class_names(
    top: Path, count: int, given: str | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Names and words of ``count`` classes, of the file that is given or of one in ``top``."""
    path = next((top / name for name in NAMES_FILES if (top / name).is_file()), None)
    key = str(path)
    if given is not None:
        path, key = user_path(given), f"data.source.classes={given}"
    if path is not None:
        names, words = named_classes(path, key)
    else:
        infos = (top / name for name in INFO_FILES if (top / name).is_file())
        listed = [names for names in map(_names_of_info, infos) if names]
        if not listed:
            return None, None
        names, words, key = tuple(listed[0]), None, str(top)
    return distinct(names, count, key), words


def _names_of_info(path: Path) -> list[str]:
    """The names in a file about a data set of ``datasets``, wherever its features lie."""
    try:
        about: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    places = [about]
    while places:
        place = places.pop()
        if isinstance(place, dict):
            names = place.get("label_names", place.get("names"))
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return names
            places += place.values()
    return []


def wordnet_ids(
    names: Sequence[str], labels: Sequence[int], classes: int
) -> tuple[str, ...] | None:
    """The WordNet id of every label, if the names of all its images begin with it."""
    wnid_of: dict[int, str] = {}
    for name, label in zip(names, labels, strict=True):
        found = re.match(r"n\d{8}(?=[_/])", PurePath(name).name)
        if found is None or wnid_of.setdefault(label, found[0]) != found[0]:
            return None
    if len(wnid_of) != classes or len(set(wnid_of.values())) != classes:
        return None
    return tuple(wnid_of[label] for label in range(classes))


def numbered(classes: int) -> tuple[str, ...]:
    """Classes that have no names are called by their numbers, as wide as the largest.

    Raises:
        UsageError: if there are more than any set has, as where a label is something else.
    """
    if classes > MOST_CLASSES:
        raise UsageError(f"data.source: a label is {classes - 1}, which can be no class's number")
    return tuple(f"{label:0{len(str(classes - 1))}d}" for label in range(classes))
