"""Compare measurements with the paper: ``python -m alexnet_repro.report runs=DIR output=DIR``."""

import logging
from collections import Counter
from pathlib import Path

from omegaconf import DictConfig

from alexnet_repro.config import command, resolved

log = logging.getLogger(__name__)


@command("report")
def main(config: DictConfig) -> None:
    from alexnet_repro.base.build import checked

    report(**checked(report, resolved(config)))


def report(
    runs: str,
    output: str,
    wandb: bool,
    wandb_project: str,
    wandb_entity: str | None,
    claims: list[str],
) -> None:
    """Every key of ``conf/report.yaml``."""
    from alexnet_repro.results.report import write_report

    directory = Path(output).expanduser()
    findings, tables = write_report(Path(runs).expanduser(), directory, claims)
    counts = Counter(finding.verdict for finding in findings)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    log.info("%d claims: %s", len(findings), summary)
    log.info("written to %s", directory / "index.html")
    if wandb:
        from alexnet_repro.results.wandb_report import write_wandb_report

        compared = [tables["ablations"], tables["claims"]]
        write_wandb_report(wandb_project, wandb_entity, compared, directory)


if __name__ == "__main__":
    main()
