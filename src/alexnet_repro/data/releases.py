"""Whole releases of ImageNet (Fall 2009, Fall 2011): a tar per synset, and no splits."""

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from alexnet_repro.base.build import Natural
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.archives import Labelled, Member, class_members, fingerprint, split_of
from alexnet_repro.data.sources import Source

Share = Annotated[float, Field(ge=0, le=1)]

log = logging.getLogger(__name__)


def release(
    root: str, whole: str, held_out: Share, min_images: Natural, split_seed: Natural
) -> Source:
    """A whole release of ImageNet (Fall 2009, Fall 2011): one tar per synset, or a tar of them.

    A release has no splits of its own. Of every class, a share ``held_out`` is drawn for ``val``
    and the rest is ``train``; the paper trained on half of Fall 2009 and tested on the other half
    (§6.1), without saying which. The draw depends on ``split_seed``, the class and its number of
    images only: image i of a class of n, in the order of the names, is held out if i is among the
    first ``round(held_out · n)`` of the permutation of n that
    ``numpy.random.default_rng([split_seed, number of the WordNet id])`` draws.

    Args:
        root: folder of the tars.
        whole: name of the tar of all class tars.
        held_out: share of the images of each class, from 0 to 1.
        min_images: classes with fewer images are left out.
        split_seed: of the draw.

    Raises:
        UsageError: naming what is missing or damaged, or if no class is left.
    """
    of_class: dict[str, list[Member]] = {}
    damaged: list[str] = []
    for wnid, member in class_members(Path(root).expanduser(), whole, damaged):
        of_class.setdefault(wnid, []).append(member)
    kept = {wnid: images for wnid, images in of_class.items() if len(images) >= min_images}
    if len(kept) < 2:
        raise UsageError(
            f"data.source.min_images={min_images}: {len(kept)} of {len(of_class)} classes have as "
            "many; at least two are needed"
        )
    log.info("%d of %d classes have %d images or more", len(kept), len(of_class), min_images)
    classes = tuple(sorted(kept))
    splits: dict[str, Labelled] = {"train": [], "val": []}
    for label, wnid in enumerate(classes):
        images = sorted(kept[wnid], key=lambda member: member.name)
        draw = np.random.default_rng([split_seed, int(wnid[1:])]).permutation(len(images))
        held = set(draw[: round(held_out * len(images))].tolist())
        for i, member in enumerate(images):
            splits["val" if i in held else "train"].append((member, label))
    return Source(
        classes=classes,
        splits={split: split_of(images) for split, images in splits.items()},
        fingerprint=fingerprint(splits),
        damaged=tuple(damaged),
    )
