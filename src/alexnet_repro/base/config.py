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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
from hydra import compose, initialize_config_dir
from hydra.conf import HydraConf
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alexnet_repro.base.build import checked
from alexnet_repro.base.errors import DivergenceError, PrunedError, UsageError, out_of_memory
from alexnet_repro.base.extras import check_plugins
from alexnet_repro.base.hydra_version import COMPOSING, MAIN, register_resolver
from alexnet_repro.base.mistakes import composing, writing
from alexnet_repro.base.record import version_of

_PACKAGE = Path(__file__).parents[1]
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parents[1] / "conf"
"""The configuration files: inside an installed wheel, or at the top of a checkout."""


Options = TypeVar("Options")


def opened(argument: str) -> str:
    """``model.dropout=0.3`` as Hydra's ``++model.dropout=0.3``: the files need not list every key.

    Which keys there are, the signature of what is built says.
    """
    return f"++{argument}" if re.match(OPEN, argument) else argument


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
        message = str(error).splitlines()[0]
        if missing := re.search(r"Missing mandatory value: (\S+)", message):
            # The key itself, or the one that it takes its value from.
            interpolated = "interpolation" in message
            key = missing.group(1) if interpolated else getattr(error, "full_key", "")
            raise UsageError(f"{key} has no default: add {key}=… to the command") from error
        raise UsageError(message) from error
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
    # before_last.ckpt is alone where a kill came between two renames.
    found = list(Path("runs", run_name).glob("*/checkpoints/*last.ckpt"))
    if not found:
        raise UsageError(
            f"resume=last: no run of {run_name} in {Path('runs', run_name)} has a checkpoint; "
            "start one without resume, or give the path of a .ckpt file"
        )
    return max(found, key=lambda path: (path.stat().st_mtime, path.name == "last.ckpt"))


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


def with_list(argument: str, keys: Sequence[str]) -> str:
    """``checkpoint=a,b`` as Hydra's ``checkpoint=['a','b']``, for these keys."""
    key, equals, value = argument.partition("=")
    if key not in keys or not equals or value[:1] in ("", "[", "'", '"'):
        return argument
    quoted = ("'" + part.strip().replace("'", "\\'") + "'" for part in value.split(","))
    return f"{key}=[{','.join(quoted)}]"


register_resolver("experiment_name", experiment_name, replace=True)
register_resolver("run_directory", run_directory, replace=True)
register_resolver("sweep_name", sweep_name, replace=True)


def print_version() -> None:
    print(f"alexnet_repro {version_of('alexnet-repro') or 'unknown'}")


@contextlib.contextmanager
def _traceback(wanted: bool) -> Iterator[None]:
    """Within it Hydra raises what goes wrong, or tells of it itself."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1" if wanted else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before


def fail(message: str) -> NoReturn:
    """End this process with the one line that says why."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        Path(path).write_text(json.dumps({"message": message, "timestamp": int(time.time())}))
    # Of several processes the first one speaks, or who launched them.
    if global_rank() == 0 and LAUNCHED not in os.environ:
        print(f"error: {message}", file=sys.stderr)
    sys.exit(USAGE_EXIT_CODE)


def _forget(settings: HydraConf) -> None:
    """Remove the folder of a run that a mistake ended before anything was written or logged."""
    directory, here = Path(settings.runtime.output_dir), Path.cwd()
    own = settings.output_subdir
    if here.is_relative_to(directory) or any(path.name != own for path in directory.iterdir()):
        return
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        for parent in directory.parents:
            if here in parent.parents:
                parent.rmdir()


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
        composed: list[DictConfig] = []
        asked = os.environ.get(FULL_ERROR) == "1"

        @functools.wraps(function)
        def task(config: DictConfig) -> float | None:
            composed.append(config)
            try:
                with _traceback(asked):
                    return _told(function, config)
            except UsageError as error:
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    if isinstance(error, DivergenceError | PrunedError):
                        raise
                    raise CompactHydraException(str(error)) from error
                _forget(HydraConfig.get())
                fail(str(error))
            except OSError as error:
                if asked or HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise
                fail(writing(error))

        hydra_main = hydra.main(config_path=str(CONF), config_name=config_name, **MAIN)(task)

        @functools.wraps(function)
        def main() -> None:
            # What cannot be logged, since the disk is full, is no reason to say so twice a line.
            logging.raiseExceptions = False
            if "--version" in sys.argv[1:]:  # Hydra would print its own
                print_version()
                return
            if global_rank() > 0:
                sys.argv += SILENT
            # Hydra takes null for a choice only where it is written in a file.
            sys.argv[1:] = [opened(a) for a in sys.argv[1:] if a not in UNCHOSEN]
            if not {"-m", "--multirun"}.intersection(sys.argv):
                sys.argv = [with_list(argument, lists) for argument in sys.argv]
            try:
                check_plugins(sys.argv[1:])
                # Hydra would print several lines, or a traceback, and exit with another code.
                with _traceback(True):
                    hydra_main()
            except UsageError as error:
                fail(str(error))
            except KeyboardInterrupt:
                sys.exit(128 + signal.SIGINT)
            except Exception as error:
                of_hydra = isinstance(error, CompactHydraException)
                if asked or (composed and not of_hydra):
                    raise
                if isinstance(error, OSError) and not of_hydra:
                    fail(writing(error))
                fail(composing(error, CONF, config_name, sys.argv[1:]))

        return main

    return decorate
