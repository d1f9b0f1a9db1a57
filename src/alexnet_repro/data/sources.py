"""Where labelled images come from: folders, and the small public sets that fit one machine.

A source lists the files of a place (``data.listing``), takes those that are images, and gives each
a label; :meth:`Source.of` makes the rest.
"""

import functools
import hashlib
import logging
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from alexnet_repro.base.build import Fraction, Natural
from alexnet_repro.base.console import printable
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import locked, user_path
from alexnet_repro.data import miniature as miniature_ilsvrc
from alexnet_repro.data.listing import File, Notes, images, is_hidden
from alexnet_repro.data.words import class_words

log = logging.getLogger(__name__)

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "validation", "valid", "dev"),
    "test": ("test", "testing", "eval"),
}
"""What the folders and files of the splits are called, in any case."""
EXPECTED = (
    "ROOT/train/CLASS/image and ROOT/val/CLASS/image, or ROOT/CLASS/image with "
    "data.source.val_fraction=0.1"
)

Labelled = list[tuple[File, str]]
"""Files, and the class of each."""
ByClass = dict[str, list[File]]


@dataclass(frozen=True)
class Split:
    """The images of one split: a name and a label each, and a function that opens image i."""

    names: Sequence[str]
    labels: Sequence[int]
    open: Callable[[int], Image.Image]


@dataclass(frozen=True)
class Source:
    """A labelled set of images.

    ``fingerprint`` changes when the images may have changed; it keys what is made from them.
    ``words`` say what a class is, where its name (a WordNet id) does not. ``damaged`` names what
    was found damaged, or where no image should be, when the images were listed. ``drawn`` says how
    validation images were drawn, where the set did not come with them.

    Raises:
        UsageError: if there are training images, but none of some class.
    """

    classes: tuple[str, ...]
    splits: dict[str, Split]
    fingerprint: str
    words: tuple[str, ...] | None = None
    damaged: tuple[str, ...] = ()
    drawn: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if missing := self.without("train"):
            reason = f"; {self.damaged[0]}" if self.damaged else ""
            raise UsageError(
                f"{len(missing)} classes have no training images, {missing[0]} the first{reason}"
            )

    def without(self, split: str) -> list[str]:
        """The classes that have no images in a split, if there is such a split."""
        there = set(map(int, self.splits[split].labels)) if split in self.splits else None
        named = enumerate(self.classes)
        return [] if there is None else [name for label, name in named if label not in there]

    @classmethod
    def of(
        cls,
        classes: tuple[str, ...],
        splits: Mapping[str, Labelled],
        notes: Notes,
        words: tuple[str, ...] | None = None,
        drawn: Mapping[str, float] | None = None,
        keyed_by: Iterable[object] = (),
    ) -> "Source":
        """The source of files, which are labelled by the place of their class among ``classes``.

        Args:
            keyed_by: what the fingerprint depends on beside the files.
        """
        digest, made = hashlib.sha256(), {}
        label_of = {name: label for label, name in enumerate(classes)}
        for split, labelled in splits.items():
            labels = [label_of[name] for _, name in labelled]
            for (file, _), label in zip(labelled, labels, strict=True):
                digest.update(file.stamp(split, label).encode())
            made[split] = Split([file.name for file, _ in labelled], labels, _opening(labelled))
        for more in keyed_by:
            digest.update(repr(more).encode())
        return cls(classes, made, digest.hexdigest(), words, tuple(notes.damaged), drawn)


def _opening(labelled: Labelled) -> Callable[[int], Image.Image]:
    return lambda i: labelled[i][0].open()


def in_class_order(found: Mapping[str, Sequence[File]]) -> Labelled:
    return [(file, name) for name in sorted(found) for file in found[name]]


def folder(
    root: str,
    train: str | None = None,
    val: str | None = None,
    test: str | None = None,
    val_fraction: Fraction = 0.0,
    split_seed: Natural = 0,
    words: str | None = None,
) -> Source:
    """``root/{train,val}/CLASS/image`` and, if there, ``root/test/CLASS/image``; or no splits.

    Classes are the folders of ``train`` in the order of their names, in Unicode's composed form. An
    image that lies in no folder of a class counts as damaged. What is hidden or no image is passed
    over and told. Classes in ``root`` itself are test images, of which a network can be evaluated;
    or training images, if validation images are to be drawn from them.

    Args:
        root: folder of the splits, or of the classes.
        train, val, test: folders of ``root``, if they are called otherwise than ``SPLIT_NAMES``.
        val_fraction: this share of the images of every class, drawn as :func:`hold_out` says from
            those of ``train`` in the order of their names, becomes ``val``. The draw is seeded by
            ``split_seed`` and the CRC-32 of the name of the class.
        split_seed: of the draw.
        words: a file with a line ``CLASS words`` for each class. If not given, one of ``root`` is
            taken that has a line for each (``WORDS_FILES``).

    Raises:
        UsageError: if a split is missing or empty or has other classes than ``train``, or a class
            has no training images.
    """
    top = user_path(root)
    if not top.is_dir():
        raise UsageError(f"data.source.root={root}: there is no folder {top}; expected {EXPECTED}")
    folders = _split_folders(top, {"train": train, "val": val, "test": test}, bool(val_fraction))
    notes = Notes()
    found = {split: _by_class(place, top, notes) for split, place in folders.items()}
    reference = next(iter(folders))
    _check_classes(folders, found, reference)
    notes.tell(top)
    draw = {"val_fraction": val_fraction, "split_seed": split_seed} if val_fraction else None
    if draw is not None:
        found["train"], found["val"] = hold_out(
            found["train"], val_fraction, split_seed, lambda name: zlib.crc32(name.encode())
        )
    classes = tuple(sorted(found[reference]))
    splits = {split: in_class_order(own) for split, own in found.items()}
    said = class_words(top, classes, words)
    keyed_by = [one for one in (draw, said) if one is not None]
    return Source.of(classes, splits, notes, said, draw, keyed_by)


def _split_folders(top: Path, given: Mapping[str, str | None], draws: bool) -> dict[str, Path]:
    """The folder of each split that is there: the one given, or one that is called so.

    Args:
        draws: whether validation images are drawn from the training images.
    """
    folders: dict[str, Path] = {}
    for split, name in given.items():
        if name is not None:
            places = [top / name]
            if not places[0].is_dir():
                raise UsageError(f"data.source.{split}={name}: there is no folder {places[0]}")
        else:
            there = (path for path in top.iterdir() if path.name.lower() in SPLIT_NAMES[split])
            places = sorted(path for path in there if path.is_dir())
        if len(places) > 1:
            raise UsageError(
                f"{top}: {' and '.join(path.name for path in places)} may both be the {split} "
                f"images; add data.source.{split}=NAME"
            )
        if places:
            folders[split] = places[0]
    if not folders:
        folders = {"train" if draws else "test": top}
    if draws and folders.keys() & {"train", "val"} != {"train"}:
        raise UsageError(
            f"data.source.val_fraction: {top} has to hold training images and no validation "
            f"images, and holds {', '.join(folders)}"
        )
    if "train" in folders and "val" not in folders and not draws:
        also = "; data.source.val=test takes the test images" if "test" in folders else ""
        raise UsageError(
            f"data.source.root={top}: there is no folder {top / 'val'} (or validation, valid, "
            "dev): data.source.val_fraction=0.1 draws a tenth of the training images, "
            f"data.source.val=NAME names a folder{also}"
        )
    return folders


def _by_class(place: Path, top: Path, notes: Notes) -> ByClass:
    """The images of each folder of a class; one that lies in none of them is damaged."""
    found, spelled = ByClass(), dict[str, str]()
    for path in sorted(place.iterdir()):
        if not path.is_dir() or is_hidden(path.name):
            continue
        if (name := composed(path.name)) in found:
            raise UsageError(
                f"{path}: there is another folder of that name, in another form of Unicode; put "
                "the images of both into one, or rename one"
            )
        found[name] = []
        if (other := spelled.setdefault(name.casefold(), name)) != name:
            log.warning("%s: the classes %s and %s differ in case only", place, other, name)
    called = f"{place.relative_to(top).as_posix()}/" if top in place.parents else ""
    for path_in_it, file in images(place, notes, called):
        name, below, _ = path_in_it.partition("/")
        if below:
            found[composed(name)].append(file)
        else:
            notes.damaged.append(f"{file.name} (lies in no folder of a class)")
    if not any(found.values()):
        raise UsageError(f"{place}: found no images in its class folders")
    return found


def composed(name: str) -> str:
    """A name as most systems write it: macOS has its letters apart from their accents."""
    return unicodedata.normalize("NFC", name)


def _check_classes(
    folders: Mapping[str, Path], found: Mapping[str, ByClass], reference: str
) -> None:
    """Raise a UsageError for classes without training images, or without a folder for them."""
    for split, place in folders.items():
        unknown = {name for name, files in found[split].items() if files} - found[reference].keys()
        if unknown:
            raise UsageError(
                f"{place}: class folder {min(unknown)!r} does not exist under {reference}"
            )
    if "train" in found:
        place, classes = folders["train"], found["train"]
        if len(classes) < 2:
            raise UsageError(
                f"{place}: found {len(classes)} class folders; at least two are needed"
            )
        if empty := sorted(name for name, files in classes.items() if not files):
            inside = next(path for path in place.iterdir() if composed(path.name) == empty[0])
            holds = sorted(path.name for path in inside.iterdir())
            why = f"it holds {printable(holds[0])}, which is no image" if holds else "it is empty"
            raise UsageError(
                f"{inside}: the class has no training images ({why}); delete the folder, or put "
                "images into it"
            )


def hold_out(
    found: ByClass, share: float, seed: int, number: Callable[[str], int]
) -> tuple[ByClass, ByClass]:
    """The images that are left of every class, and those that are drawn from it.

    Of each class these are the first ``round(share · images)`` of the permutation that
    ``numpy.random.default_rng((seed, number(class)))`` draws.
    """
    left, held = ByClass(), ByClass()
    for name, files in found.items():
        draw = np.random.default_rng((seed, number(name))).permutation(len(files))
        drawn = set(draw[: round(share * len(files))].tolist())
        left[name] = [file for i, file in enumerate(files) if i not in drawn]
        held[name] = [file for i, file in enumerate(files) if i in drawn]
    return left, held


def miniature(root: str, seed: Natural) -> Source:
    """The miniature ILSVRC, rendered into ``root`` the first time (see ``data.miniature``)."""
    directory = user_path(root) / f"seed{seed}"
    if not directory.exists():
        log.info("rendering the miniature ILSVRC into %s", directory)
    return folder(str(miniature_ilsvrc.generate(directory, seed=seed)))


def imagenette(root: str, size: Literal["full", "320px", "160px"]) -> Source:
    """Imagenette 2 (ten classes of ImageNet), downloaded by torchvision if ``root`` lacks it.

    Args:
        root: folder that holds, or will hold, ``imagenette2-320`` (or the folder of that size).
        size: ``full``, ``320px`` or ``160px``.
    """
    from torchvision.datasets import Imagenette

    top = user_path(root)
    folders = {"full": "imagenette2", "320px": "imagenette2-320", "160px": "imagenette2-160"}
    extracted = top / folders[size]
    if not extracted.is_dir():
        with locked(extracted):
            if not extracted.is_dir():
                get = functools.partial(Imagenette, top, "train", size, download=True)
                _download("imagenette", top, get)
    return folder(str(extracted))


def cifar10(root: str) -> Source:
    """CIFAR-10 (50,000 train, 10,000 test), downloaded by torchvision if ``root`` lacks it.

    Its test images serve as ``val`` too, since there are no others with labels.
    """
    from torchvision.datasets import CIFAR10

    top = user_path(root)
    try:
        # torchvision checks the archive's MD5 sums before it reads the batches.
        train, test = CIFAR10(top, train=True), CIFAR10(top, train=False)
    except RuntimeError:
        with locked(top / "cifar10"):  # torchvision leaves alone what is there
            _download("cifar10", top, lambda: CIFAR10(top, download=True))
        train, test = CIFAR10(top, train=True), CIFAR10(top, train=False)
    splits = {"train": _array_split("train", train), "val": _array_split("test", test)}
    digest = hashlib.sha256()
    for data in (train.data, test.data):
        digest.update(data.tobytes())
    return Source(tuple(train.classes), splits, digest.hexdigest())


def _array_split(name: str, dataset: "CIFAR10") -> Split:  # type: ignore[name-defined]  # noqa: F821
    return Split(
        names=[f"{name}/{i}" for i in range(len(dataset.data))],
        labels=dataset.targets,
        open=lambda i: Image.fromarray(dataset.data[i]),
    )


def _download(name: str, root: Path, download: Callable[[], object]) -> None:
    log.info("downloading %s into %s", name, root)
    try:
        download()
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"data={name}: it is not in {root} and could not be downloaded ({error}); copy it "
            "there, or point data.source.root at a folder that holds it"
        ) from error
