"""From configuration files to a checked configuration, and from a function to a command."""

import contextlib
import functools
import json
import logging
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alexnet_repro.base.build import checked
from alexnet_repro.base.checkpoints import find_checkpoint
from alexnet_repro.base.console import take_any_character
from alexnet_repro.base.errors import UsageError, first_line, out_of_memory
from alexnet_repro.base.extras import check_plugins
from alexnet_repro.base.files import alone_in, write_json
from alexnet_repro.base.hydra_version import COMPOSING, MAIN, register_resolver
from alexnet_repro.base.mistakes import check_flags, composing, writing
from alexnet_repro.base.record import version_of
from alexnet_repro.base.system import end_with_launcher

_PACKAGE = Path(__file__).parents[1]
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parents[1] / "conf"
"""The configuration files: inside an installed wheel, or at the top of a checkout."""


Options = TypeVar("Options")


def opened(argument: str, sweep: bool = False) -> str:
    """``model.dropout=0.3`` as Hydra's ``++model.dropout=0.3``: the files need not list every key.

    Which keys there are, the signature of what is built says. ``source=`` is short for
    ``data.source.root=``. A key that takes a path or a name takes any text.

    Args:
        sweep: commas separate values.

    Raises:
        UsageError: if such a key is given nothing, as by a variable of the shell that is not set.
    """
    typed, argument = argument, re.sub(r"^source=", "data.source.root=", argument)
    key, equals, value = argument.partition("=")
    if equals and re.fullmatch(TEXTS, key) and not (sweep and re.match(SWEPT, value)):
        if not value.strip("'\" "):
            raise UsageError(f"{typed}: there is no value; give one, or leave the key out")
        parts = value.split(",") if sweep else [value]
        argument = f"{key}={','.join(map(quoted, parts))}"
    return f"++{argument}" if re.match(OPEN, argument) else argument


def quoted(text: str) -> str:
    """Text as a value of Hydra's grammar, unless it is quoted, refers to other keys or is null."""
    if text in ("", "null") or "${" in text or re.fullmatch(r"(['\"]).*\1", text):
        return text
    # Backslashes count only before a quote.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return "'" + escaped + "\\" * (len(escaped) - len(escaped.rstrip("\\"))) + "'"


def composed(name: str, *overrides: str, **options: Any) -> DictConfig:
    """The configuration of a command, ``train``, as Hydra composes it from these arguments.

    Args:
        options: of Hydra's ``compose``.
    """
    # Within a command Hydra knows the folder already.
    known = GlobalHydra.instance().is_initialized()
    with contextlib.nullcontext() if known else initialize_config_dir(str(CONF), **COMPOSING):
        return compose(name, [opened(override) for override in overrides], **options)


def resolved(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values.

    Raises:
        UsageError: naming the key that has no value.
    """
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        message, key = first_line(error), getattr(error, "full_key", None)
        if missing := re.search(r"Missing mandatory value: (\S+)", message):
            # The key itself, or the one that it takes its value from.
            key = missing.group(1) if "interpolation" in message else key
            raise UsageError(f"{key} has no default: add {key}=… to the command") from error
        raise UsageError(f"{key or 'configuration'}: {message}") from error
    return values  # type: ignore[return-value]


def options(config: DictConfig, kind: Callable[..., Options]) -> Options:
    """The configuration as the arguments of ``kind``, checked against its signature.

    Raises:
        UsageError: naming every key that is wrong and why.
    """
    values = resolved(config)
    return kind(**checked(kind, values))


def run_directory(resume: str | None, run_name: str, now: str) -> str:
    """Where a run writes: a new folder, or that of the run which it resumes."""
    if resume is not None:
        # A mistake in resume is told by the command itself; here it would be a Hydra traceback.
        with contextlib.suppress(UsageError):
            checkpoint = find_checkpoint(resume, f"runs/{run_name}")
            if checkpoint.parent.name == "checkpoints":
                return str(checkpoint.parent.parent)
    return f"runs/{run_name}/{now}"


def named_checkpoint(key: str, given: str, runs: str = "runs") -> Path:
    """As :func:`find_checkpoint`, of what a key is given, which its errors name."""
    try:
        return find_checkpoint(given, runs)
    except UsageError as error:
        raise UsageError(f"{key}={error}") from error


def experiment_name(choice: str | None, overrides: Sequence[str]) -> str:
    """``alexnet``; or ``demo+ablation_tanh`` for ``experiment=[demo,ablation_tanh]``.

    Hydra reports no choice where several are combined: they are read from the command's overrides.
    A network of another package goes by its own name: ``resnet18``, ``demo+resnet18``.
    """
    combined = [o.removeprefix("experiment=") for o in overrides if o.startswith("experiment=[")]
    if choice is None:
        choice = combined[-1].strip("[]").replace(" ", "") if combined else "custom"
    names = [name for name in choice.split(",") if name]
    for override in overrides:
        key, _, target = override.lstrip("+").partition("=")
        if key == "model._target_" and not target.startswith("alexnet_repro."):
            names = [name for name in names if name != "alexnet"] + [target.rpartition(".")[2]]
    return "+".join(names)


def sweep_name(mode: RunMode | None, directory: str) -> str | None:
    """The name of the sweep's folder, in which that of the run lies; None for a single run."""
    sweep = Path(directory).parent
    # A job's columns are runs of their own, which Hydra does not know to be of a sweep.
    return sweep.name if mode == RunMode.MULTIRUN or (sweep / "multirun.yaml").is_file() else None


OPEN = r"(model|data|augment|optimizer|schedule|trainer|strategy|callbacks|logger)\.[\w.]+="
"""Arguments that set a key of something that is built."""
TEXTS = (
    r"\+{0,2}(output|resume|init_from|run_name|data\.(name|directory|cache_dir)|"
    r"data\.source\.(root|train|val|test|words|classes|whole)|hydra\.(run|sweep)\.(sub)?dir)"
)
"""Keys that take a path or a name."""
SWEPT = r"(choice|glob|range|interval|shuffle|sort|tag)\("
"""How values begin that are several."""
UNCHOSEN = ("logger=null", "debug=null", "launcher=null", "sweep=null")
"""Choices of nothing, which is what these groups have if none is made."""
FULL_ERROR = "HYDRA_FULL_ERROR"
"""The environment variable that Hydra reads: 1 for a traceback of every mistake."""
USAGE_EXIT_CODE = 2
LAUNCHED = "ALEXNET_REPRO_LAUNCHED"
"""The environment variable of processes that a command started: what it has decided for them. It
tells their errors."""
SILENT = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=disabled")
"""Overrides for all processes of a run but the first: they write no files and no messages."""


def global_rank() -> int:
    """Number of this process in its run, as torchrun, this package or srun set it; 0 if alone."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0)))


def is_first() -> bool:
    """Whether this is the command itself, or the first of the processes that others started."""
    return global_rank() == 0 and LAUNCHED not in os.environ


def with_list(argument: str, keys: Sequence[str]) -> str:
    """``checkpoint=a,b`` as Hydra's ``checkpoint=['a','b']``, for these keys."""
    key, equals, value = argument.partition("=")
    if key not in keys or not equals or re.fullmatch(r"|\[.*\]|(['\"]).*\1", value):
        return argument
    parts = [value] if Path(value).exists() else [part.strip() for part in value.split(",")]
    return f"{key}=[{','.join(map(quoted, parts))}]"


register_resolver("experiment_name", experiment_name, replace=True)
register_resolver("run_directory", run_directory, replace=True)
register_resolver("sweep_name", sweep_name, replace=True)


def print_version() -> None:
    print(f"alexnet_repro {version_of('alexnet-repro') or 'unknown'}")


def fail(message: str, kind: type[Exception] = UsageError) -> NoReturn:
    """End this process with the one line that says why, and tell who launched it what that is."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        told = {"message": message, "timestamp": int(time.time()), "kind": kind.__name__}
        Path(path).write_text(json.dumps(told))
    # Of several processes the first one speaks, or who launched them.
    if is_first():
        # Which commands that print nothing need not import.
        from alexnet_repro.base.console import printable

        print("error:", printable(message), file=sys.stderr)
    sys.exit(USAGE_EXIT_CODE)


def remove_unused(directory: Path, own: str | None) -> None:
    """Remove the folder of a run or sweep that a mistake ended before it wrote or logged anything.

    Args:
        own: what Hydra has put there.
    """
    directory, here = directory.resolve(), Path.cwd()
    if here.is_relative_to(directory) or any(path.name != own for path in directory.iterdir()):
        return
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        for parent in directory.parents:
            if here in parent.parents:
                parent.rmdir()


def _leave_reason(directory: Path, since: float, error: Exception) -> None:
    """In the folder of a run that began after ``since``, why it ended: as a sweep does for jobs.

    A run that was refused did not begin: the folder is that of an earlier one.
    """
    begun = directory / "run.json"
    if global_rank() == 0 and begun.is_file() and begun.stat().st_mtime >= since:
        said = f"{error}" if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            write_json(directory / "job.json", {"status": "failed", "error": said})


def _line(error: Exception, composed: bool, config_name: str) -> str | None:
    """What to say of an error; None where only its traceback says enough."""
    if isinstance(error, UsageError):
        return str(error)
    # Some of Hydra's are errors of the system as well.
    if isinstance(error, CompactHydraException) or not (composed or isinstance(error, OSError)):
        return composing(error, CONF, config_name, sys.argv[1:])
    return writing(error) if isinstance(error, OSError) else None


def _is_override(argument: str) -> bool:
    return re.match(r"~|\+{0,2}[A-Za-z_][\w./@:-]*=", argument) is not None


def command(
    config_name: str,
    lists: Sequence[str] = (),
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
    """

    def decorate(function: Callable[[DictConfig], float | None]) -> Callable[[], None]:
        asked = os.environ.get(FULL_ERROR) == "1" and LAUNCHED not in os.environ
        started: list[DictConfig] = []

        def end(error: Exception) -> None:
            message = _line(error, bool(started), config_name)
            if message is not None and (isinstance(error, UsageError) or not asked):
                fail(message, type(error))

        @functools.wraps(function)
        def task(config: DictConfig) -> float | None:
            started.append(config)
            since = time.time()
            try:
                return function(config)
            except Exception as error:
                error_ = out_of_memory(error, OmegaConf.select(config, "data.batch_size")) or error
                if (settings := HydraConfig.get()).mode == RunMode.RUN:
                    directory = Path(settings.runtime.output_dir)
                    with alone_in(directory) as alone:
                        if alone:
                            remove_unused(directory, settings.output_subdir)
                            _leave_reason(directory, since, error_)
                    end(error_)  # to an error that is raised Hydra adds a line of its own
                raise error_ from (error if error_ is not error else error.__cause__)

        hydra_main = hydra.main(config_path=str(CONF), config_name=config_name, **MAIN)(task)

        @functools.wraps(function)
        def main() -> None:
            end_with_launcher()
            # What cannot be logged, since the disk is full, is no reason to say so twice a line.
            logging.raiseExceptions = False
            take_any_character()
            if "--version" in sys.argv[1:]:  # Hydra would print its own
                print_version()
                return
            os.environ[FULL_ERROR] = "1"  # Hydra is to raise what goes wrong, not to print it
            if global_rank() > 0:
                sys.argv += SILENT
            # Hydra takes null for a choice only where it is written in a file, and no flag between
            # two overrides.
            sweep = not {"-m", "--multirun"}.isdisjoint(sys.argv)
            try:
                given = [opened(a, sweep) for a in sys.argv[1:] if a not in UNCHOSEN]
                sys.argv[1:] = sorted(given, key=_is_override)
                if not sweep:
                    sys.argv = [with_list(argument, lists) for argument in sys.argv]
                check_flags(sys.argv[1:])
                check_plugins(sys.argv[1:])
                hydra_main()
            except KeyboardInterrupt:
                sys.exit(128 + signal.SIGINT)
            except Exception as error:
                end(error)
                raise

        return main

    return decorate
