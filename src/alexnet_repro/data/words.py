"""Files that say what classes are: a line with the name and the words of each."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path

WORDS_FILES = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")
"""Names under which the words of ImageNet's classes are distributed, in the order of preference."""


def text_lines(path: Path, key: str) -> list[str]:
    """The lines of a file that are not empty.

    Args:
        key: what to call the file in an error, such as ``--words words.txt``.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{key}: cannot be read as text ({error})") from error
    return [line.strip() for line in lines if line.strip()]


def words_of(classes: Iterable[str], path: Path, key: str) -> dict[str, str]:
    """What the lines ``CLASS words`` of a file say of these classes: those that have a line."""
    known, said = set(classes), dict[str, str]()
    for line in text_lines(path, key):
        for name, _, words in (line.partition("\t"), line.partition(" ")):
            if name in known and words.strip():
                said.setdefault(name, words.strip())
    return said


def named_classes(path: Path, key: str) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The classes of a file in the order of its lines, and their words, if it has any.

    A line is a name alone, whatever blanks are in it; a name, a tab and words; or a WordNet id and
    words, as in Caffe's ``synset_words.txt``.

    Raises:
        UsageError: if the file is no text or names a class twice.
    """
    parted = [re.split(r"\t|(?<=^n\d{8}) ", line, maxsplit=1) for line in text_lines(path, key)]
    names = tuple(line[0].strip() for line in parted)
    words = tuple(line[-1].strip() for line in parted)
    for name, count in Counter(names).items():
        if count > 1:
            raise UsageError(f"{key}: names the class {name!r} {count} times")
    return names, None if words == names else words


def distinct(names: Sequence[str], count: int, key: str) -> tuple[str, ...]:
    """The names of at least ``count`` classes; two of one name get their number behind it.

    Args:
        key: what to call their origin in an error.
    """
    if len(names) < count:
        raise UsageError(f"{key}: names {len(names)} classes, but there is a label {count - 1}")
    twice = {name for name, number in Counter(names).items() if number > 1}
    return tuple(f"{n} ({label})" if n in twice else n for label, n in enumerate(names))


def class_words(top: Path, classes: tuple[str, ...], given: str | None) -> tuple[str, ...] | None:
    """The words of the classes: of the file ``given``, or of one in ``top`` that has them all.

    Raises:
        UsageError: if the file that is given has not all of them.
    """
    if given is not None:
        key = f"data.source.words={given}"
        said = words_of(classes, user_path(given), key)
        if missing := [name for name in classes if name not in said]:
            raise UsageError(f"{key}: has no line for the class {missing[0]}")
        return tuple(said[name] for name in classes)
    for name in WORDS_FILES:
        if (top / name).is_file():
            said = words_of(classes, top / name, str(top / name))
            if len(said) == len(classes):
                return tuple(said[name] for name in classes)
    return None
