"""Find like images (§7.1): ``python -m alexnet_repro.retrieve build|evaluate …`` or ``query=…``."""

import logging

from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.retrieve import RetrieveSchema

log = logging.getLogger(__name__)

WORDS = {"--json": "json=true"} | {
    action: f"action={action}" for action in ("query", "build", "evaluate")
}


@command("retrieve", words=WORDS)
def main(config: DictConfig) -> None:
    values = validated(config, RetrieveSchema)
    # faiss, torch and matplotlib take seconds to import: a mistake is told before.
    from alexnet_repro.seeing import retrieval

    {
        "query": retrieval.query,
        "build": retrieval.build,
        "evaluate": retrieval.evaluate,
    }[values["action"]](values)


if __name__ == "__main__":
    main()
