"""A page to try a network: ``python -m alexnet_repro.serve checkpoint=…``."""

import logging

from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.serve import ServeSchema

log = logging.getLogger(__name__)


@command("serve")
def main(config: DictConfig) -> None:
    values = validated(config, ServeSchema)
    from alexnet_repro.seeing import server

    server.serve(values)


if __name__ == "__main__":
    main()
