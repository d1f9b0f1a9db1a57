"""Measure trained networks: ``python -m alexnet_repro.evaluate checkpoint=PATH[,PATH…] data=…``."""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.evaluate import EvaluateSchema

log = logging.getLogger(__name__)


@command("evaluate", lists=("checkpoint",))
def main(config: DictConfig) -> None:
    values = validated(config, EvaluateSchema)
    from alexnet_repro.results.evaluation import evaluate, print_evaluation
    from alexnet_repro.results.record import write_json

    record = evaluate(values, HydraConfig.get().overrides.task)
    path = Path(values["output"]).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    print_evaluation(record)
    log.info("written to %s", path)


if __name__ == "__main__":
    main()
