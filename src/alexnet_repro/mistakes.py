"""What is wrong with a command line or with the disk, in one line that names the key or path."""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from alexnet_repro.hydra_version import COMPOSING

LISTED = 12
"""Choices that a message names; more are counted."""


def composing(error: Exception, conf: Path, name: str, arguments: Sequence[str]) -> str:
    """Why Hydra could not compose a configuration.

    Args:
        conf: the folder of configuration files.
        name: of the file that the command reads.
        arguments: of the command.
    """
    if isinstance(error, OverrideParseException):
        # The last line points at Hydra's documentation.
        said = [line for line in error.message.splitlines() if not line.startswith("See http")]
        detail = " ".join(said).removeprefix(f"Error parsing override '{error.override}'").strip()
        return f"{error.override}: not of the form KEY=VALUE ({detail})"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice}: there is no such choice{_offered(choice, error.options or ())}"
    if isinstance(error.__cause__, ConfigKeyError | ConfigAttributeError):
        key = str(error.__cause__.full_key)
        known = [other for other in _keys(conf, name) if other.count(".") == key.count(".")]
        return f"{key}: there is no such key{did_you_mean(key, known)}"
    if ambiguous := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
        key, _, value = ambiguous[1].partition("=")
        return f"{ambiguous[1]}: one value is needed; a list is {key}=[{value}], a sweep takes -m"
    # A group that is given a number or null is told of without its name.
    for argument in arguments if isinstance(error, ValueError) else ():
        key, _, value = argument.lstrip("+").partition("=")
        if key and (conf / key).is_dir() and not (conf / key / f"{value}.yaml").is_file():
            choices = [path.stem for path in (conf / key).glob("*.yaml")]
            return f"{argument}: there is no such choice{_offered(value, choices)}"
    return " ".join(str(error).split()) or type(error).__name__


def writing(error: OSError) -> str:
    """What a file or disk refused."""
    if error.strerror is None:
        return " ".join(str(error).split()) or type(error).__name__
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror}"


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` if something known is written much like what was given."""
    similar = get_close_matches(given, list(known), n=1)
    return f"; did you mean {similar[0]}?" if similar else ""


def _offered(given: str, choices: Iterable[str]) -> str:
    names = sorted(choices)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{did_you_mean(given, names)}; there are {', '.join(names[:LISTED])}{more}"


def _keys(conf: Path, name: str) -> Iterator[str]:
    """The keys that the command knows, and its groups."""
    yield from (path.name for path in conf.iterdir() if path.is_dir())
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), **COMPOSING):
        yield from _dotted(OmegaConf.to_container(compose(name), resolve=False))


def _dotted(values: Any, before: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{before}{key}"
        if isinstance(value, dict):
            yield from _dotted(value, f"{before}{key}.")
