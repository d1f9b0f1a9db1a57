"""Compare measurements with the paper: ``alexnet report RUNS``."""

import logging
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from alexnet_repro import cli

log = logging.getLogger(__name__)

CLAIMS = (
    "relu_speed",
    "two_gpu",
    "two_gpu_time",
    "lrn",
    "lrn_cifar",
    "overlap_pool",
    "colour_pca",
    "crops",
    "dropout",
    "weight_decay",
    "depth",
    "ten_crop",
    "table_1",
    "table_2_one",
    "table_2_five",
    "table_2_pretrained",
    "table_2_seven",
    "fall_2009",
    "kernels",
    "retrieval",
    "codes",
)
"""Of ``conf/claim``, in the order of the report."""

commands = cli.app()


@commands.command(
    epilog=cli.example("alexnet report runs --output report", "alexnet report --claim lrn")
)
def report(
    runs: Annotated[
        Path, typer.Argument(exists=True, help="Folder of runs and evaluations.")
    ] = Path("runs"),
    output: cli.Output = Path("report"),
    claims: Annotated[
        list[str],
        typer.Option(
            "--claim", metavar="NAME", help="One of conf/claim, may be repeated; else all."
        ),
    ] = [],  # noqa: B006 - Typer copies it
    wandb: Annotated[
        bool, typer.Option(help="Also a W&B report of the runs of logger=wandb.")
    ] = False,
    wandb_project: Annotated[str, typer.Option(help="Of these runs.")] = "alexnet_repro",
    wandb_entity: Annotated[str | None, typer.Option(help="Of the project; else yours.")] = None,
) -> None:
    """Set what was measured beside what the paper says."""
    from alexnet_repro.results.report import write_report

    output = output.expanduser()
    findings, tables = write_report(runs.expanduser(), output, claims or CLAIMS)
    counts = Counter(finding.verdict for finding in findings)
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    log.info("%d claims: %s", len(findings), summary)
    log.info("written to %s", output / "index.html")
    if wandb:
        from alexnet_repro.results.wandb_report import write_wandb_report

        compared = [tables["ablations"], tables["claims"]]
        write_wandb_report(wandb_project, wandb_entity, compared, output)


if __name__ == "__main__":
    cli.run(commands)
