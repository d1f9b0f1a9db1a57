"""What is wrong with a command line or with the disk, in one line that names the key or path."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from alexnet_repro.base.build import did_you_mean, leaves
from alexnet_repro.base.errors import UsageError, first_line, one_line

LISTED = 12
"""Choices that a message names; more are counted."""

FLAGS = {
    *("help", "hydra-help", "version", "cfg", "resolve", "package", "run", "multirun", "info"),
    *("shell-completion", "config-path", "config-name", "config-dir", "experimental-rerun"),
}
"""What Hydra takes with two dashes."""

MEANT = {
    "batch": "data.batch_size=…",
    "checkpoint": "resume=PATH to train on, init_from=PATH to start from its weights",
    "ckpt_path": "resume=PATH to train on; alexnet_repro.evaluate checkpoint=PATH tests",
    "debug_mode": "debug=fdr",
    "epoch": "schedule.epochs=…",
    "epochs": "schedule.epochs=…",
    "gpus": "trainer.devices=…",
    "hparams_search": "sweep=learning_rate, with -m",
    "learning_rate": "optimizer.lr=…",
    "max_epochs": "schedule.epochs=…",
    "name": "run_name=NAME",
    "num_classes": "model.num_classes=…",
    "num_workers": "data.num_workers=…",
    "paths": "data.cache_dir=FOLDER for data and hydra.run.dir=FOLDER for what a run writes",
    "tags": "run_name=NAME, or with logger=wandb logger.wandb.tags=[…]",
    "task_name": "run_name=NAME",
    "test": "trainer.limit_test_batches=1 for a short test; every run ends with one",
    "val_fraction": "data.source.val_fraction=…",
    "train": "python -m alexnet_repro.evaluate checkpoint=PATH to test without training",
}
"""What users of other programs of Lightning and Hydra type for train, and what to type here."""


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
        typed = str(error.override).removeprefix("++")  # of Hydra, put there by us
        key, equals, _ = typed.partition("=")
        told = f"; a value with such characters is typed \"{key}='VALUE'\"" if equals else ""
        return f"{typed}: not of the form KEY=VALUE ({detail}){told}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        if not group:
            return f"-cn {choice}: there is no such configuration; {name} is that of this command"
        choices = error.options or [path.stem for path in (conf / group).glob("*.yaml")]
        return f"{group}={choice}: there is no such choice{_offered(choice, choices)}"
    if isinstance(error.__cause__, ConfigKeyError | ConfigAttributeError):
        key = str(error.__cause__.full_key)
        return f"{key}: there is no such key{meant(key, conf, name)}"
    if ambiguous := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
        key, _, value = ambiguous[1].partition("=")
        return f"{ambiguous[1]}: one value is needed; a list is {key}=[{value}], a sweep takes -m"
    if missing := re.search(r"Interpolation key '(.*?)' not found", str(error)):
        typed = next((one for one in arguments if f"${{{missing[1]}" in one), "the configuration")
        return f"{typed.lstrip('+')}: there is no key {missing[1]}"
    referring = next((one for one in arguments if "${" in one), None)
    if referring is not None and "interpolation" in str(error):
        # What OmegaConf names is the first key that was looked up.
        return f"{referring.lstrip('+')}: {first_line(error)}"
    if twice := re.match(r"Multiple values for ([\w/]+)\.", str(error)):
        return f"+{twice[1]}=…: leave out the plus sign; it only adds groups that are not there yet"
    # A group that is given a number or null is told of without its name.
    for argument in arguments if isinstance(error, ValueError) else ():
        key, _, value = argument.lstrip("+").partition("=")
        one = key and not value.startswith("[") and (conf / key).is_dir()
        if one and not (conf / key / f"{value}.yaml").is_file():
            choices = [path.stem for path in (conf / key).glob("*.yaml")]
            return f"{argument}: there is no such choice{_offered(value, choices)}"
    return one_line(error)


def check_flags(arguments: Sequence[str]) -> None:
    """Raise a UsageError for a key with dashes, as other programs take them."""
    for argument, after in zip(arguments, [*arguments[1:], ""], strict=True):
        flag = re.match(r"--([\w.-]+)(?:=(.*))?", argument)
        if flag is not None and flag[1] not in FLAGS:
            other = "" if after.startswith("-") or "=" in after else after
            value = flag[2] or other or "VALUE"
            raise UsageError(f"{argument}: keys are typed without dashes: {flag[1]}={value}")


def writing(error: OSError) -> str:
    """What a file or disk refused."""
    if error.strerror is None:
        return one_line(error)
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror}"


def meant(key: str, conf: Path, name: str) -> str:
    """``; did you mean …?`` for a key that a command has not: a group or another key of its own.

    Args:
        key: as typed: ``lr``, ``paths.data_dir``.
        conf: the folder of configuration files.
        name: of the file that the command reads.
    """
    own = _loaded(conf / f"{name}.yaml")
    choices = [one for one in own.pop("defaults", ()) if isinstance(one, dict)]
    groups = [group for one in choices for group in one if not group.startswith("override ")]
    if name == "train" and (instead := MEANT.get(key.partition(".")[0])):
        return f"; type {instead}"
    inside = list(_inside(conf, groups))
    for one in inside:
        if one.rpartition(".")[2] == key:
            return f"; did you mean {one}?"
    short = ["source"] if "data" in groups else []
    similar = did_you_mean(key, [*groups, *own, *short, *(one for one in inside if "." not in one)])
    if similar or name != "train":
        return similar
    return f"; an argument of Lightning's Trainer is typed trainer.{key}"


def no_match(arguments: Sequence[str], conf: Path) -> str:
    """What is wrong with a multirun that had no jobs."""
    for argument in arguments:
        group, _, pattern = argument.partition("=")
        if pattern.startswith("glob("):
            choices = [path.stem for path in (conf / group).glob("*.yaml")]
            return f"{argument}: no choice has such a name{_offered(pattern[5:-1], choices)}"
    return "-m: there is nothing to run"


def _offered(given: str, choices: Iterable[str]) -> str:
    # base is what the others are made of.
    names = sorted(set(choices) - {"base"})
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    meant_ = did_you_mean(given, names)
    return f"{meant_}{'' if meant_ else ';'} there are {', '.join(names[:LISTED])}{more}"


def _inside(conf: Path, groups: Iterable[str]) -> Iterator[str]:
    """The keys that the files of these groups set."""
    for group in groups:
        for path in sorted((conf / group).glob("*.yaml")):
            values = _loaded(path)
            values.pop("defaults", None)
            package = re.match("# @package (.*)", path.read_text())
            above = package[1].replace("_global_", "") if package else group
            yield from (key for key, _ in leaves(values, f"{above}." if above else ""))


def _loaded(path: Path) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return values  # type: ignore[no-any-return]
