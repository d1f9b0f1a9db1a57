"""Prepare a data set: ``python -m alexnet_repro.prepare data=imagenet_2012 source=…``."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from alexnet_repro.base.build import TARGET, ArgumentsOf, build, check, described
from alexnet_repro.base.config import command, options
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import user_path

log = logging.getLogger(__name__)


def _action(verify: bool) -> None:
    """``prepare.verify=true``: check the files of a store, instead of preparing it."""


@dataclass(frozen=True)
class Preparation:
    """Every key of ``conf/prepare.yaml``."""

    data: dict[str, Any]
    output: str | None
    encoding: Literal["raw", "jpeg"]
    quality: Annotated[int, Field(ge=1, le=100)]
    part: str | None
    prepare: Annotated[dict[str, Any], ArgumentsOf(_action)]

    @property
    def output_folder(self) -> Path | None:
        if self.output is None:
            return None
        if not (path := user_path(self.output)).name:
            raise UsageError(f"output={self.output}: name the folder to write, which is new")
        return path

    @property
    def number_and_parts(self) -> tuple[int, int]:
        """(2, 8) of ``part=2/8``; (1, 1) for the whole."""
        part = re.fullmatch(r"(\d+)/(\d+)", self.part or "1/1")
        if part is None or not 1 <= int(part[1]) <= int(part[2]):
            raise UsageError(
                f"part={self.part}: expected a node and the number of nodes, such as 1/8 … 8/8"
            )
        return int(part[1]), int(part[2])


@command("prepare")
def main(config: DictConfig) -> None:
    if config.prepare.verify is True:
        config.data = {}  # which images the store was made of does not matter
    wanted = options(config, Preparation)
    output, part = wanted.output_folder, wanted.number_and_parts
    from alexnet_repro.data.prepare import place_in_cache, prepare
    from alexnet_repro.data.store import StoredAs, open_store, verify

    if wanted.prepare["verify"]:
        if output is None:
            raise UsageError("prepare.verify=true: add output=FOLDER, the store")
        verify(output)
        return
    if output is None and wanted.encoding != "raw":
        raise UsageError(
            f"encoding={wanted.encoding}: add output=FOLDER; what train itself prepares is raw"
        )
    if TARGET not in (wanted.data.get("source") or {}):
        raise UsageError("data=prepared is prepared already; choose data=folder or another")
    check(wanted.data, "data")
    data = described(wanted.data, "data")
    source = build(data["source"], "data.source")
    quality = wanted.quality if wanted.encoding == "jpeg" else None
    stored_as = StoredAs(data["image_size"], wanted.encoding, quality, data["exif_orientation"])
    place = output or place_in_cache(source, stored_as, user_path(data["cache_dir"]), data["name"])
    directory = prepare(source, stored_as, place, data["max_damaged"], part)
    if directory != place:
        told = "part=%s: in %s; the same command without part merges all"
        log.info(told, wanted.part, directory)
        return
    store = open_store(directory)
    images = ", ".join(f"{len(split)} {name}" for name, split in store.splits.items())
    log.info("%s: %s images of %d classes", store.directory, images, len(store.classes))
    if output is None:
        log.info("train finds it there with the same data=… data.KEY=…")
    else:
        log.info("train on it with: data=prepared data.directory='%s' data.name=NAME", output)


if __name__ == "__main__":
    main()
