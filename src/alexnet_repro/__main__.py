"""All commands in one program: ``alexnet``, or ``python -m alexnet_repro``, lists them."""

import runpy
import sys
from typing import Annotated

import typer

from alexnet_repro import cli, convert, doctor, export, predict, report, retrieve, serve
from alexnet_repro.base.config import print_version
from alexnet_repro.figures import __main__ as figures

COMPOSING = {
    "train": "Train a network, test it and write the record.",
    "evaluate": "Measure the errors of trained networks, or of an ensemble.",
    "prepare": "Prepare a data set as a store for train.",
}
"""Commands of Hydra, which read their own arguments: KEY=VALUE and GROUP=CHOICE."""

commands = cli.app(add_completion=True)
for command in (doctor, predict, report, serve):
    commands.add_typer(command.commands)
for name, group in (
    ("figures", figures),
    ("retrieve", retrieve),
    ("export", export),
    ("convert", convert),
):
    commands.add_typer(group.commands, name=name)


def compose(context: typer.Context) -> None:
    """Run a command of Hydra with the arguments behind its name, as they were typed."""
    name = str(context.info_name)
    sys.argv = [f"alexnet_repro.{name}", *sys.argv[2:]]
    runpy.run_module(f"alexnet_repro.{name}", run_name="__main__", alter_sys=True)


for name, said in COMPOSING.items():
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    commands.command(name, help=said, add_help_option=False, context_settings=anything)(compose)


def _version(asked: bool) -> None:
    if asked:
        print_version()
        raise typer.Exit


@commands.callback()
def alexnet(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """AlexNet (Krizhevsky, Sutskever & Hinton 2012), reproduced."""


def main() -> None:
    cli.run(commands)


if __name__ == "__main__":
    main()
