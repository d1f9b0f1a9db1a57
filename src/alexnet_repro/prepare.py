"""Prepare a data set: ``python -m alexnet_repro.prepare data=imagenet_2012 source=… output=…``."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.prepare import PrepareSchema

log = logging.getLogger(__name__)


@command("prepare")
def main(config: DictConfig) -> None:
    values = validated(config, PrepareSchema)
    from alexnet_repro.base.build import build, described
    from alexnet_repro.data.prepare import prepare
    from alexnet_repro.data.store import StoredAs, open_store, verify

    output = Path(values["output"]).expanduser()
    if values["prepare"]["verify"]:
        verify(output)
        return
    data = described(values["data"], "data")
    source = build(data["source"], "data.source")
    quality = values["quality"] if values["encoding"] == "jpeg" else None
    stored_as = StoredAs(data["image_size"], values["encoding"], quality, data["exif_orientation"])
    number, of = map(int, (values["part"] or "1/1").split("/"))
    directory = prepare(source, stored_as, output, data["max_damaged"], (number, of))
    if directory != output:
        told = "part=%s: in %s; the same command without part merges all"
        log.info(told, values["part"], directory)
        return
    store = open_store(directory)
    images = ", ".join(f"{len(split)} {name}" for name, split in store.splits.items())
    log.info("%s: %s images of %d classes", store.directory, images, len(store.classes))
    log.info("train on it with: data=prepared data.directory='%s' data.name=NAME", output)


if __name__ == "__main__":
    main()
