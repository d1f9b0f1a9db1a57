"""Whole releases of ImageNet (Fall 2009, Fall 2011): a tar per synset, and no splits."""

import logging

from alexnet_repro.base.build import Fraction, Natural
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path
from alexnet_repro.data.ilsvrc import class_tars
from alexnet_repro.data.listing import Notes
from alexnet_repro.data.sources import Source, hold_out, in_class_order

log = logging.getLogger(__name__)


def release(
    root: str, whole: str, held_out: Fraction, min_images: Natural, split_seed: Natural
) -> Source:
    """A whole release of ImageNet (Fall 2009, Fall 2011): one tar per synset, or a tar of them.

    A release has no splits of its own. Of every class, a share ``held_out`` is drawn for ``val``
    and the rest is ``train``; the paper trained on half of Fall 2009 and tested on the other half
    (§6.1), without saying which. The draw (:func:`sources.hold_out`) is seeded by ``split_seed``
    and the number of the WordNet id, over the images of the class in the order of their names.

    Args:
        root: folder of the tars.
        whole: name of the tar of all class tars.
        held_out: share of the images of each class.
        min_images: classes with fewer images are left out.
        split_seed: of the draw.

    Raises:
        UsageError: naming what is missing or damaged, or if no class is left.
    """
    notes = Notes()
    of_class = class_tars(user_path(root), whole, notes)
    kept = {wnid: images for wnid, images in of_class.items() if len(images) >= min_images}
    if len(kept) < 2:
        raise UsageError(
            f"data.source.min_images={min_images}: {len(kept)} of {len(of_class)} classes have as "
            "many; at least two are needed"
        )
    log.info("%d of %d classes have %d images or more", len(kept), len(of_class), min_images)
    notes.tell(root)
    in_order = {c: sorted(kept[c], key=lambda file: file.name) for c in kept}
    train, val = hold_out(in_order, held_out, split_seed, lambda wnid: int(wnid[1:]))
    splits = {"train": in_class_order(train), "val": in_class_order(val)}
    return Source.of(tuple(sorted(kept)), splits, notes)
