"""Compare measurements with the paper: ``alexnet report RUNS``."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from alexnet_repro import cli
from alexnet_repro.base.files import user_path

log = logging.getLogger(__name__)

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
            "--claim", metavar="NAME", help="One of conf/claims.yaml; repeatable; default: all."
        ),
    ] = [],  # noqa: B006 - Typer copies it
    wandb: Annotated[
        bool, typer.Option(help="Also a W&B report of the runs of logger=wandb.")
    ] = False,
    wandb_project: Annotated[
        str, typer.Option(help="W&B project of those runs.")
    ] = "alexnet_repro",
    wandb_entity: Annotated[str | None, typer.Option(help="Of the project; else yours.")] = None,
) -> None:
    """Compare what was measured with the paper's claims."""
    from alexnet_repro.results.claims import counted
    from alexnet_repro.results.report import write_report

    output = user_path(output)
    findings, tables = write_report(user_path(runs), output, claims)
    summary = ", ".join(f"{count} {what}" for what, count in counted(findings))
    log.info("%d claims: %s", len(findings), summary)
    log.info("written to %s", output / "index.html")
    if wandb:
        from alexnet_repro.results.wandb_report import write_wandb_report

        compared = [tables["ablations"], tables["claims"]]
        write_wandb_report(wandb_project, wandb_entity, compared, output)


if __name__ == "__main__":
    cli.run(commands)
