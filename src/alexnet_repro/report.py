"""Compare measurements with the paper: ``python -m alexnet_repro.report runs=DIR output=DIR``."""

import logging
from collections import Counter
from pathlib import Path

from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.report import ReportSchema

log = logging.getLogger(__name__)


@command("report")
def main(config: DictConfig) -> None:
    values = validated(config, ReportSchema)
    from alexnet_repro.results.report import write_report

    output = Path(values["output"]).expanduser()
    findings, tables = write_report(Path(values["runs"]).expanduser(), output, values["claims"])
    counts = Counter(finding.verdict for finding in findings)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    log.info("%d claims: %s", len(findings), summary)
    log.info("written to %s", output / "index.html")
    if values["wandb"]:
        from alexnet_repro.results.wandb_report import write_wandb_report

        compared = [tables["ablations"], tables["claims"]]
        write_wandb_report(values["wandb_project"], values["wandb_entity"], compared, output)


if __name__ == "__main__":
    main()
