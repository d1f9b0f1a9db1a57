"""Measure trained networks: ``python -m alexnet_repro.evaluate checkpoint=PATH[,PATH…] data=…``."""

import logging

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alexnet_repro.base.config import command, options
from alexnet_repro.results.options import Evaluation

log = logging.getLogger(__name__)


@command("evaluate", lists=("checkpoint",))
def main(config: DictConfig) -> None:
    evaluation = options(config, Evaluation)
    # torch and Lightning take seconds to import: a mistake is told before.
    from alexnet_repro.base.files import make_room_for, user_path, write_json
    from alexnet_repro.results.evaluation import evaluate, print_evaluation

    path = user_path(evaluation.output)
    make_room_for(path)
    record = evaluate(evaluation, HydraConfig.get().overrides.task)
    print_evaluation(record)
    write_json(path, record)
    log.info("written to %s", path)


if __name__ == "__main__":
    main()
