"""ImageNet as Kaggle has it (``imagenet-object-localization-challenge``), read in place.

A folder, a zip or the ``.tar.gz`` of the images holds ``ILSVRC/Data/CLS-LOC`` with
``train/WNID/*.JPEG``, ``val/*.JPEG`` and ``test/*.JPEG``. ``LOC_val_solution.csv`` and
``LOC_synset_mapping.txt`` are in the zip, or else beside or above the images.
"""

import csv
import io
from pathlib import Path, PurePath

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.listing import File, Notes, files
from alexnet_repro.data.sources import ByClass, Labelled, Source, in_class_order
from alexnet_repro.data.words import class_words

SOLUTION, MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"
ARCHIVES = ("*imagenet-object-localization-challenge*.zip", "*imagenet_object_locali?ation*.tar.gz")
FOLDERS = ("", "CLS-LOC", "Data/CLS-LOC", "ILSVRC/Data/CLS-LOC")


def place_of_images(top: Path) -> Path | None:
    """The folder or archive of the images, if there is one in ``top`` or it is ``top`` itself."""
    if top.is_file():
        return top
    for place in (top / part for part in FOLDERS):
        if place.name == "CLS-LOC" and (place / "train").is_dir():
            return place
    return next((path for pattern in ARCHIVES for path in sorted(top.glob(pattern))), None)


def kaggle(place: Path, words: str | None) -> Source:
    """The images of ``place``: the folder ``CLS-LOC``, or an archive.

    Validation images that have been sorted into folders of their classes need no solution. The test
    images have no labels and are left out.

    Args:
        words: a file of words that takes the place of ``LOC_synset_mapping.txt``.

    Raises:
        UsageError: naming what is missing.
    """
    notes = Notes()
    train, val, texts = _listed(place, notes)
    said = dict(line.split(maxsplit=1) for line in _lines(texts.get(MAPPING, b"")))
    truth = _solution(texts[SOLUTION]) if SOLUTION in texts else {}
    if not train or not val:
        reason = f"; {notes.damaged[0]}" if notes.damaged else ""
        raise UsageError(f"{place}: there are no images in CLS-LOC/train or CLS-LOC/val{reason}")
    if not truth and any(not wnid for wnid, _ in val.values()):
        raise UsageError(
            f"{place}: there is no {SOLUTION}, which says what the validation images show; put it "
            f"beside {place.name}"
        )
    for name in sorted(truth.keys() - val.keys()):
        notes.damaged.append(f"{place.name}: image {name} (is not there)")
    in_order = {c: sorted(found, key=lambda file: file.name) for c, found in train.items()}
    splits: dict[str, Labelled] = {"train": in_class_order(in_order), "val": []}
    for name, (wnid, file) in sorted(val.items()):
        if wnid or name in truth:
            splits["val"].append((file, wnid or truth[name]))
        else:
            notes.damaged.append(f"{file.name} (has no line in {SOLUTION})")
    classes = tuple(sorted(said or train))
    for split, labelled in splits.items():
        if unknown := {wnid for _, wnid in labelled}.difference(classes):
            raise UsageError(f"{place}: there are {split} images of {min(unknown)}, not a class")
    notes.tell(place)
    spoken = tuple(said[wnid] for wnid in classes) if said else None
    return Source.of(classes, splits, notes, class_words(place, classes, words) or spoken)


def _listed(
    place: Path, notes: Notes
) -> tuple[ByClass, dict[str, tuple[str, File]], dict[str, bytes]]:
    """Training images by class; validation images, and the folder of each, by name; and texts."""
    train, val = ByClass(), dict[str, tuple[str, File]]()
    texts = {
        name: (above / name).read_bytes()
        for above in reversed(place.parents[:4] if place.is_dir() else place.parents[:1])
        for name in (SOLUTION, MAPPING)
        if (above / name).is_file()
    }
    for path, file in files(place, notes):
        above, _, inside = path.rpartition("CLS-LOC/")
        if (name := PurePath(path).name) in (SOLUTION, MAPPING):
            texts[name] = file.read()
        elif (place.is_dir() or above.endswith("Data/")) and notes.takes(path):
            split, *folders, name = inside.split("/")
            if split == "train" and folders:
                train.setdefault(folders[0], []).append(file)
            elif split == "val":
                val[PurePath(name).stem] = "".join(folders[:1]), file
    return train, val, texts


def _lines(content: bytes) -> list[str]:
    return [line for line in content.decode("utf-8-sig").splitlines() if len(line.split()) > 1]


def _solution(content: bytes) -> dict[str, str]:
    """The WordNet id of every image of ``LOC_val_solution.csv``: the first word of its line."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    try:
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (KeyError, IndexError, AttributeError, csv.Error) as error:
        raise UsageError(
            f"{SOLUTION}: expected the columns ImageId and PredictionString ({error!r})"
        ) from error
