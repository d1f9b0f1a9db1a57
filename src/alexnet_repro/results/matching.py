"""Which of a network's classes those of other images are: ImageNetV2's 0…999, a part of them."""

import unicodedata
from collections.abc import Callable, Sequence

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.training.checkpoint import Trained

SHOWN = 3


def matched_labels(member: Trained, data: ImageDataModule) -> tuple[list[int], str]:
    """The network's label for every class of the data, and how they were matched.

    All of them are matched in the same way, the first that is possible for all: by their names; by
    words, of which a network and the data may have several for a class; or by numbers, from 0 in
    the network's order. Nothing is prepared for it.

    Raises:
        UsageError: naming classes that the network does not know, or that could be several of its.
    """
    classes, words = data.listed_classes
    if classes == member.classes:
        return list(range(len(classes))), "names"
    asked, own = _spellings(classes, words), _spellings(member.classes, member.words)
    numbers = all(name.isdecimal() and int(name) < len(own) for name in classes)
    ways: dict[str, Callable[[int], set[int]]] = {
        "names": lambda i: {label for label, one in enumerate(own) if one[0] == asked[i][0]},
        "words": lambda i: {label for label, one in enumerate(own) if set(one) & set(asked[i])},
        "numbers": lambda i: {int(classes[i])} if numbers else set(),
    }
    unknown, several = list[str](), list[str]()
    for way, candidates in ways.items():
        found = [candidates(i) for i in range(len(classes))]
        labels = [label for one in found for label in one]
        if all(len(one) == 1 for one in found) and len(set(labels)) == len(labels):
            return labels, way
        if way == "words":
            unknown = [name for name, one in zip(classes, found, strict=True) if not one]
            several = [name for name, one in zip(classes, found, strict=True) if one]
    if unknown:
        raise UsageError(
            f"{member.path}: its network knows {len(classes) - len(unknown)} of the {len(classes)} "
            f"classes of {data.dataset_name}, and not {_some(unknown)}; they have to be called as "
            f"the network's are ({_some(member.classes)}), in words, or by numbers from 0"
        )
    raise UsageError(
        f"{member.path}: some of the classes {_some(several)} of {data.dataset_name} could be the "
        "same or several of the network's; call them as the network does"
    )


def _spellings(names: Sequence[str], words: Sequence[str] | None) -> list[list[str]]:
    """Of each class the name, all its words and the first, without what is no difference."""

    def plain(text: str) -> str:
        return unicodedata.normalize("NFC", text).casefold().replace("_", " ").strip()

    said = zip(names, words or names, strict=True)
    return [[plain(one) for one in (name, all_, all_.split(",")[0])] for name, all_ in said]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
