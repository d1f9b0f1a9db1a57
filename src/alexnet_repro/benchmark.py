"""Measure speed: ``python -m alexnet_repro.benchmark benchmark=data``."""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.benchmark import BenchmarkSchema

log = logging.getLogger(__name__)


@command("benchmark")
def main(config: DictConfig) -> None:
    values = validated(config, BenchmarkSchema)
    from alexnet_repro.benchmarks.report import print_measured, write_record

    tables = []
    for measured in instantiate(values["benchmark"]):
        print_measured(measured)
        tables.append(measured)
    choices, overrides = HydraConfig.get().runtime.choices, HydraConfig.get().overrides.task
    path = Path(values["output"])
    write_record(path, choices["benchmark"], overrides, values["benchmark"], tables)
    log.info("written to %s", path)


if __name__ == "__main__":
    main()
