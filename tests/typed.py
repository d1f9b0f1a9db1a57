"""Whether what a text says to type is right: commands, options, keys and choices."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from alexnet_repro import cli
from alexnet_repro.__main__ import COMPOSING, commands
from alexnet_repro.base.config import composed, with_list

SWEEPS = ("experiment=glob(", "seed=1,2")


def leaves(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The commands that take options, with the names to type."""
    if not hasattr(command, "commands"):
        yield names, command
        return
    for name, below in command.commands.items():
        yield from leaves(below, *names, name)


def with_options() -> dict[tuple[str, ...], Any]:
    """The commands of Typer by what is typed for them."""
    found = dict(leaves(typer.main.get_command(commands)))
    return {names: command for names, command in found.items() if names[0] not in COMPOSING}


def check_typed(arguments: Sequence[str]) -> None:
    """That there is such a command, and that it has these options, keys and choices."""
    if arguments[0] in COMPOSING:
        name, *keys = arguments
        overrides = [key for key in keys if "=" in key and not key.startswith(SWEEPS)]
        # Of a sweep over combinations, the first.
        overrides = [re.sub(r"\],\[.*", "]", key) for key in overrides]
        assert composed(name, *(with_list(key, ["checkpoint"]) for key in overrides))
        return
    names = tuple(arguments[:2]) if tuple(arguments[:2]) in with_options() else (arguments[0],)
    command, rest = with_options()[names], arguments[len(names) :]
    known = {name for parameter in command.params for name in parameter.opts}
    assert {one.partition("=")[0] for one in rest if one.startswith("--")} <= known
    if data := [one for one in rest if one.startswith(("data=", "data."))]:
        assert cli.composed_node(*data)
    assert not [one for one in rest if "=" in one and one[0] != "-" and one not in data]
