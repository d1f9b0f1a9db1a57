"""Which of a network's classes those of other images are: ImageNetV2's 0…999, a part of them."""

from collections.abc import Callable, Iterable, Sequence

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.data.sources import composed
from alexnet_repro.training.checkpoint import Trained

SHOWN = 3


def matched_labels(member: Trained, data: ImageDataModule) -> tuple[list[int], str]:
    """The network's label for every class of the data, and how they were matched.

    All of them are matched in the same way, the first that is possible for all: by their names; by
    words, of which a network and the data may have several for a class; or by numbers, which are
    the network's names if these are numbers, and its labels if not. Nothing is prepared for it.

    Raises:
        UsageError: naming classes that the network does not know, or that could be several of its.
    """
    classes, words = data.listed.classes, data.listed.words
    if classes == member.classes:
        return list(range(len(classes))), "names"
    by_name, by_word = _labels(map(composed, member.classes)), dict[str, set[int]]()
    for spelled in _spellings(member.classes, member.words):
        for word, of_word in _labels(spelled).items():
            by_word.setdefault(word, set()).update(of_word)
    asked = list(zip(*_spellings(classes, words), strict=True))
    numbers = list(member.classes)
    if not all(map(str.isdecimal, numbers)):
        numbers = [str(label) for label in range(len(numbers))]
    by_number = _labels(name.lstrip("0") for name in numbers)
    ways: dict[str, Callable[[int], set[int]]] = {
        "names": lambda i: by_name.get(composed(classes[i]), set()),
        "words": lambda i: set().union(*(by_word.get(word, set()) for word in asked[i])),
        "numbers": lambda i: by_number.get(classes[i].lstrip("0"), set()),
    }
    unknown, several = list[str](), list(classes)
    for way, candidates in ways.items():
        found = [candidates(i) for i in range(len(classes))]
        labels = [label for one in found for label in one]
        if all(len(one) == 1 for one in found) and len(set(labels)) == len(labels):
            return labels, way
        if way == "words":
            unknown = [name for name, one in zip(classes, found, strict=True) if not one]
            several = [n for n, one in zip(classes, found, strict=True) if len(one) > 1] or several
    if unknown:
        raise UsageError(
            f"{member.path}: its network knows {len(classes) - len(unknown)} of the {len(classes)} "
            f"classes of {data.dataset_name}, and not {_some(unknown)}; name them as it does "
            f"({_some(member.classes)}), by their words, or number them from 0"
        )
    raise UsageError(
        f"{member.path}: the classes {_some(several)} of {data.dataset_name} could be one or "
        "several of the network's; call them as the network does"
    )


def _labels(names: Iterable[str]) -> dict[str, set[int]]:
    """The labels of each name."""
    found: dict[str, set[int]] = {}
    for label, name in enumerate(names):
        found.setdefault(name, set()).add(label)
    return found


def _spellings(names: Sequence[str], words: Sequence[str] | None) -> list[list[str]]:
    """The names, all words and first words of classes, without what is no difference."""
    said = words or names
    first = [text.split(",")[0] for text in said]
    return [
        [composed(text).casefold().replace("_", " ").strip() for text in texts]
        for texts in (names, said, first)
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
