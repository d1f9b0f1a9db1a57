"""Where labelled images come from: folders, and the small public sets that fit one machine."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from alexnet_repro.base.build import Natural
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data import miniature as miniature_ilsvrc

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


def printable(name: str) -> str:
    """A name that somebody else gave, without what would move a terminal or end a line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


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
    was found damaged, or where no image should be, when the images were listed.
    """

    classes: tuple[str, ...]
    splits: dict[str, Split]
    fingerprint: str
    words: tuple[str, ...] | None = None
    damaged: tuple[str, ...] = ()


def folder(root: str) -> Source:
    """``root/{train,val}/CLASS/image`` and, if there, ``root/test/CLASS/image``.

    Classes are the folders of ``train`` in sorted order. Any file with an extension that PIL knows
    is an image; one that lies in no folder of a class counts as damaged.

    Raises:
        UsageError: if a split is missing or empty or has other classes than ``train``.
    """
    top = Path(root).expanduser()
    for split in ("train", "val"):
        if not (top / split).is_dir():
            raise UsageError(
                f"data.source.root={root}: there is no folder {top / split}; expected "
                "train/CLASS/image, val/CLASS/image and optionally test/CLASS/image"
            )
    return class_folders(top, {split: top / split for split in SPLITS if (top / split).is_dir()})


def class_folders(top: Path, folders: Mapping[str, Path]) -> Source:
    """The images ``CLASS/image`` of a folder for each split; classes are those of ``train``."""
    classes = _class_folders(folders["train"])
    extensions = set(Image.registered_extensions())
    digest = hashlib.sha256()
    splits, damaged = {}, []
    for split, directory in folders.items():
        files = _labelled_files(directory, classes, extensions)
        for path, _ in files:
            stat = path.stat()
            entry = f"{path.relative_to(top).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
            digest.update(entry.encode())
        splits[split] = _files_split(top, files)
        damaged += [
            f"{path.relative_to(top).as_posix()} (lies in no folder of a class)"
            for path in sorted(directory.iterdir())
            if path.suffix.lower() in extensions and not path.name.startswith(".")
            if path.is_file()
        ]
    return Source(classes, splits, digest.hexdigest(), damaged=tuple(damaged))


def _class_folders(train: Path) -> tuple[str, ...]:
    names = [p.name for p in train.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if len(names) < 2:
        raise UsageError(f"{train}: found {len(names)} class folders; at least two are needed")
    return tuple(sorted(names))


def _labelled_files(
    split: Path, classes: tuple[str, ...], extensions: set[str]
) -> list[tuple[Path, int]]:
    unknown = {p.name for p in split.iterdir() if p.is_dir()} - set(classes)
    unknown = {name for name in unknown if not name.startswith(".")}
    if unknown:
        raise UsageError(f"{split}: class folder {min(unknown)!r} does not exist under train")
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((split / name).glob("**/*"))
        if path.suffix.lower() in extensions and not _hidden(path, split) and path.is_file()
    ]
    if not files:
        raise UsageError(f"{split}: found no images in its class folders")
    return files


def _hidden(path: Path, top: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(top).parts)


def _files_split(top: Path, files: list[tuple[Path, int]]) -> Split:
    return Split(
        names=[printable(path.relative_to(top).as_posix()) for path, _ in files],
        labels=[label for _, label in files],
        open=lambda i: Image.open(files[i][0]),
    )


def miniature(root: str, seed: Natural) -> Source:
    """The miniature ILSVRC, rendered into ``root`` the first time (see ``data.miniature``)."""
    directory = Path(root).expanduser() / f"seed{seed}"
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

    top = Path(root).expanduser()
    folders = {"full": "imagenette2", "320px": "imagenette2-320", "160px": "imagenette2-160"}
    extracted = top / folders[size]
    if not extracted.is_dir():
        top.mkdir(parents=True, exist_ok=True)
        _download("imagenette", top, lambda: Imagenette(top, "train", size, download=True))
    return folder(str(extracted))


def cifar10(root: str) -> Source:
    """CIFAR-10 (50,000 train, 10,000 test), downloaded by torchvision if ``root`` lacks it.

    Its test images serve as ``val`` too, since there are no others with labels.
    """
    from torchvision.datasets import CIFAR10

    top = Path(root).expanduser()
    try:
        # torchvision checks the archive's MD5 sums before it reads the batches.
        train, test = CIFAR10(top, train=True), CIFAR10(top, train=False)
    except RuntimeError:
        top.mkdir(parents=True, exist_ok=True)
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
