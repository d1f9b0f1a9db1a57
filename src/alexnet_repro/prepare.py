"""Prepare a data set: ``python -m alexnet_repro.prepare data=imagenet_2012 source=… output=…``."""

import logging
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.data.preparation import prepare
from alexnet_repro.schema import PrepareSchema

log = logging.getLogger(__name__)


@command("prepare")
def main(config: DictConfig) -> None:
    values = validated(config, PrepareSchema)
    data, output = values["data"], Path(values["output"]).expanduser()
    source = instantiate(data["source"])()
    store = prepare(source, data["image_size"], output, data["max_damaged"])
    images = ", ".join(f"{len(split)} {name}" for name, split in store.splits.items())
    log.info("%s: %s images of %d classes", store.directory, images, len(store.classes))
    log.info("train on it with: data=prepared data.directory='%s' data.name=NAME", output)


if __name__ == "__main__":
    main()
