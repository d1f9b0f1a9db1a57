"""What the commands that compose no configuration share: their options, and how they end.

They take options, ``--checkpoint runs/demo``; ``train``, ``evaluate`` and ``prepare`` compose
groups of Hydra. The images of a data set are given to both as ``data=NAME data.KEY=VALUE``.
"""

import itertools
import os
import re
import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from typer.exceptions import TyperException

from alexnet_repro.base.build import check
from alexnet_repro.base.checkpoints import find_checkpoint
from alexnet_repro.base.config import CONF, composed, fail, resolved
from alexnet_repro.base.console import show_on_terminal, take_any_character
from alexnet_repro.base.errors import UsageError, out_of_memory
from alexnet_repro.base.mistakes import composing, writing


class Format(StrEnum):
    """Of a picture's file."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


def _checkpoint(required: str) -> Any:
    said = "A .ckpt file, a run's folder, last (the newest run) or imagenette (in a checkout)"
    return typer.Option(parser=find_checkpoint, metavar="RUN", help=f"{said}{required}.")


Checkpoint = Annotated[Path, _checkpoint("")]
MaybeCheckpoint = Annotated[Path | None, _checkpoint("; not needed")]
Words = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        help="A file of lines CLASS WORDS, such as ImageNet's words.txt, to name classes.",
    ),
]
Device = Annotated[Literal["auto", "cpu", "gpu"], typer.Option(help="Device to compute on.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]
Trust = Annotated[
    str | None,
    typer.Option(metavar="PACKAGE", help="Allow a checkpoint to name a network of PACKAGE."),
]
Model = Annotated[
    list[str],
    typer.Option(
        metavar="KEY=VALUE",
        help="The network, if it is not one of this package: --model _target_=PACKAGE.NETWORK.",
    ),
]
Data = Annotated[
    list[str],
    typer.Argument(metavar="data=NAME...", help="The data set: data=NAME data.KEY=VALUE."),
]
Output = Annotated[Path, typer.Option(help="Folder to write to.")]
PICTURES = [Format.PNG, Format.SVG]
Formats = Annotated[list[Format], typer.Option("--format", help="Of the pictures; repeatable.")]
Dpi = Annotated[int, typer.Option(min=30, max=1200, help="Resolution of PNG files.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of random choices.")]


def data_node(overrides: Sequence[str]) -> dict[str, Any]:
    """The checked node of ``data=NAME data.KEY=VALUE``.

    Raises:
        UsageError: if there is no such choice, key or value, or nothing was given.
    """
    for override in overrides:
        if not override.lstrip("+").startswith(("data=", "data.", "source=")):
            raise UsageError(
                f"{override}: this command takes options (--checkpoint PATH) and data=… keys, "
                "which --help lists"
            )
    if not any(override.startswith("data=") for override in overrides):
        raise UsageError("no images: add data=NAME, such as data=imagenette")
    data: dict[str, Any] = composed_node(*overrides)["data"]
    check(data, "data")
    return data


def composed_node(*overrides: str) -> dict[str, Any]:
    """The groups that ``train`` composes of these overrides."""
    try:
        config = composed("train", *overrides)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UsageError(composing(error, CONF, "train", overrides)) from error
    return {key: resolved(config[key]) for key in ("model", "augment", "data")}


def node(given: Sequence[str]) -> dict[str, Any]:
    """What repeated ``--model KEY=VALUE`` say."""
    values: dict[str, Any] = OmegaConf.to_container(OmegaConf.from_dotlist(list(given)))  # type: ignore[assignment]
    return values


def app(**options: Any) -> typer.Typer:
    """Of commands with plain help and one-line messages."""
    plain = {"rich_markup_mode": None, "pretty_exceptions_enable": False, "add_completion": False}
    return typer.Typer(no_args_is_help=True, **(plain | options))


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\n\n".join(["Examples:" if lines[1:] else "Example:", *lines])


def told(message: str) -> str:
    """The message; or, where an option was typed as a key, how options are typed."""
    for before, typed in itertools.pairwise(sys.argv):
        key = re.match(r"(?!data[.=]|source=)[a-z][\w.]*=", typed)
        elsewhere = "No such command" in message and typed not in message
        if key and before != "--model" and not elsewhere and not Path(typed).exists():
            return (
                f"{typed}: KEY=VALUE is for train, evaluate and prepare; here options are "
                "--checkpoint PATH and so on, which --help lists"
            )
    return " ".join(message.replace("Value error, ", "").split()).rstrip(".")


def run(commands: typer.Typer) -> None:
    """Run what was typed; a mistake is one line and exit code 2."""
    take_any_character()
    show_on_terminal()
    try:
        try:
            _run(commands)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # as of "| head": who reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _run(commands: typer.Typer) -> NoReturn:
    if "" in sys.argv[1:]:
        fail("an argument is empty (an unset shell variable?)")
    try:
        sys.exit(commands(standalone_mode=False))
    except TyperException as error:
        said = error.format_message()
        if said.startswith("Usage:"):  # nothing was typed
            print(said)
            sys.exit()
        fail(told(said))
    except UsageError as error:
        fail(told(str(error)))
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(writing(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if reason := out_of_memory(error, None):
            fail(str(reason))
        raise
