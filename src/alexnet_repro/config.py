"""From configuration files to a checked configuration, and from a function to a command."""

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from alexnet_repro.errors import UsageError, out_of_memory
from alexnet_repro.extras import check_plugins
from alexnet_repro.results.sweep import print_sweep
from alexnet_repro.schema.train import TrainSchema

_PACKAGE = Path(__file__).parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parents[1] / "conf"
"""The configuration files: inside an installed wheel, or at the top of a checkout."""


def validated(config: DictConfig, schema: type[BaseModel] = TrainSchema) -> dict[str, Any]:
    """The resolved configuration as plain values, checked against ``schema``.

    Raises:
        UsageError: naming every key that is wrong and why.
    """
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0]
        if missing := re.search(r"Missing mandatory value: (\S+)", message):
            # The key itself, or the one that it takes its value from.
            interpolated = "interpolation" in message
            key = missing.group(1) if interpolated else getattr(error, "full_key", "")
            raise UsageError(f"{key} has no default: add {key}=… to the command") from error
        raise UsageError(message) from error
    try:
        schema.model_validate(values)
    except ValidationError as error:
        raise UsageError("; ".join(map(_one_line, error.errors()))) from error
    return values  # type: ignore[return-value]


def _one_line(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith("alexnet_repro"))
    message: str = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such key"
    if error["type"] == "missing":
        return f"{key} is missing"
    if not key:
        return message
    if isinstance(error["input"], dict):
        return f"{key}: {message}"
    return f"{key}={error['input']}: {message[0].lower()}{message[1:]}"


def run_directory(resume: str | None, run_name: str, now: str) -> str:
    """Where a run writes: a new folder, or that of the run which it resumes."""
    if resume is not None:
        # A mistake in resume is told by the command itself; here it would be a Hydra traceback.
        with contextlib.suppress(UsageError):
            checkpoint = checkpoint_to_resume(resume, run_name)
            if checkpoint.parent.name == "checkpoints":
                return str(checkpoint.parent.parent)
    return f"runs/{run_name}/{now}"


def checkpoint_to_resume(resume: str, run_name: str) -> Path:
    """The checkpoint that ``resume=…`` means: a path, or ``last`` of the newest run of that name.

    Raises:
        UsageError: if there is none.
    """
    if resume != "last":
        path = Path(resume).expanduser()
        if not path.is_file():
            raise UsageError(f"resume={resume}: there is no such file; give a .ckpt file or 'last'")
        return path
    found = list(Path("runs", run_name).glob("*/checkpoints/last.ckpt"))
    if not found:
        raise UsageError(
            f"resume=last: no run of {run_name} in {Path('runs', run_name)} has a checkpoint; "
            "start one without resume, or give the path of a .ckpt file"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def experiment_name(choice: str | None, overrides: list[str]) -> str:
    """``alexnet``; or ``demo+ablation_tanh`` for ``experiment=[demo,ablation_tanh]``.

    Hydra reports no choice where several are combined: they are read from the command's overrides.
    """
    if choice is not None:
        return choice
    combined = [o.removeprefix("experiment=") for o in overrides if o.startswith("experiment=[")]
    return combined[-1].strip("[]").replace(" ", "").replace(",", "+") if combined else "custom"


def sweep_name(mode: RunMode | None, directory: str) -> str | None:
    """The name of the sweep's folder, in which that of the run lies; None for a single run."""
    sweep = Path(directory).parent
    # A job's columns are runs of their own, which Hydra does not know to be of a sweep.
    return sweep.name if mode == RunMode.MULTIRUN or (sweep / "multirun.yaml").is_file() else None


USAGE_EXIT_CODE = 2
SILENT = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=disabled")
"""Overrides for all processes of a run but the first: they write no files and no messages."""


def global_rank() -> int:
    """Number of this process in its run, as torchrun, this package or srun set it; 0 if alone."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0)))


def with_list(argument: str, keys: Sequence[str]) -> str:
    """``checkpoint=a,b`` as Hydra's ``checkpoint=['a','b']``, for these keys."""
    key, equals, value = argument.partition("=")
    if key not in keys or not equals or value[:1] in ("", "[", "'", '"'):
        return argument
    quoted = ("'" + part.strip().replace("'", "\\'") + "'" for part in value.split(","))
    return f"{key}=[{','.join(quoted)}]"


OmegaConf.register_new_resolver("experiment_name", experiment_name, replace=True)
OmegaConf.register_new_resolver("run_directory", run_directory, replace=True)
OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)


def _told(function: Callable[[DictConfig], float | None], config: DictConfig) -> float | None:
    """``function(config)``; that memory was not enough is an error that the user can put right."""
    try:
        return function(config)
    except UsageError:
        raise
    except Exception as error:  # Hydra wraps what the building of an object raises
        batch_size = OmegaConf.select(config, "data.batch_size")
        if told := out_of_memory(error, batch_size):
            raise told from error
        raise


def command(
    config_name: str,
    lists: Sequence[str] = (),
    words: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[Callable[[DictConfig], float | None]], Callable[[], None]]:
    """Make a Hydra command of a function of its configuration.

    What the function returns is what a search, such as Optuna's, minimizes.

    A :class:`UsageError` ends the command with one line and :data:`USAGE_EXIT_CODE`. In a multirun
    Hydra goes on with the other jobs and the command fails at the end, with a table of what became
    of each.

    Args:
        config_name: of its file under ``conf``.
        lists: keys that take one value or several, separated by commas, which Hydra would read as
            a sweep.
        words: what may stand on the command line beside overrides, each with the override that it
            stands for: ``{"build": "action=build", "--json": "json=true"}``.
    """

    def decorate(function: Callable[[DictConfig], float | None]) -> Callable[[], None]:
        @functools.wraps(function)
        def task(config: DictConfig) -> float | None:
            try:
                return _told(function, config)
            except UsageError as error:
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise CompactHydraException(str(error)) from error
                # Of several processes the first one speaks.
                if global_rank() == 0:
                    print(f"error: {error}", file=sys.stderr)
                sys.exit(USAGE_EXIT_CODE)

        hydra_main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
            task
        )

        @functools.wraps(function)
        def main() -> None:
            if global_rank() > 0:
                sys.argv += SILENT
            sys.argv[1:] = [words.get(argument, argument) for argument in sys.argv[1:]]
            if not {"-m", "--multirun"}.intersection(sys.argv):
                sys.argv = [with_list(argument, lists) for argument in sys.argv]
            try:
                check_plugins(sys.argv[1:])
            except UsageError as error:
                print(f"error: {error}", file=sys.stderr)
                sys.exit(USAGE_EXIT_CODE)
            try:
                hydra_main()
            finally:
                print_sweep()

        return main

    return decorate
