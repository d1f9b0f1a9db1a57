"""One process for each device: started here, by torchrun, or by srun."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGABRT, SIGTERM
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from alexnet_repro.base.config import LAUNCHED
from alexnet_repro.base.errors import DivergenceError, UsageError
from alexnet_repro.base.files import temporary_folder
from alexnet_repro.base.system import usable_cores

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1")
"""What ends a run when it has saved."""


def must_launch(trainer: dict[str, Any]) -> bool:
    """Whether the processes of this run are still to be started, by this one.

    Args:
        trainer: that part of the configuration.

    Raises:
        UsageError: if others started them, but not as many as the configuration says; or if there
            are several nodes and nobody did.
    """
    wanted = trainer["devices"] * trainer["num_nodes"]
    started = started_by_others()
    if started is not None:
        command, count = started
        if count != wanted:
            raise UsageError(
                f"trainer.devices={trainer['devices']} × trainer.num_nodes={trainer['num_nodes']} "
                f"are {wanted} processes, but {command} started {count}"
            )
        if command == "srun":
            _check_srun(trainer)
        return False
    if trainer["num_nodes"] > 1:
        raise UsageError(
            f"trainer.num_nodes={trainer['num_nodes']}: start the command on every node, with "
            "torchrun or srun"
        )
    return bool(wanted > 1)


def _check_srun(trainer: dict[str, Any]) -> None:
    """What Lightning would refuse in several lines, or wait for in vain."""
    for key, option, variable in (
        ("devices", "ntasks-per-node", "SLURM_NTASKS_PER_NODE"),
        ("num_nodes", "nodes", "SLURM_NNODES"),
    ):
        asked, given = str(trainer[key]), os.environ.get(variable)
        if given != asked:
            raise UsageError(
                f"trainer.{key}={asked}: start it with srun --{option}={asked} "
                f"(it is {given or 'not given'})"
            )


def started_by_others() -> tuple[str, int] | None:
    """The command that started the processes of this run, and how many; None for this one."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun", int(os.environ["WORLD_SIZE"])
    # SLURM_NTASKS is also known to the script of a job and to a shell in it, which are one process.
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    return ("srun", tasks) if tasks > 1 else None


def launch(
    processes: int, columns: int, overrides: Sequence[str], directory: Path, decision: str
) -> None:
    """Train in ``processes`` processes of this machine and wait for them.

    This process takes no part: it watches. If one of the others fails, the rest are ended too.

    Lightning's own launcher is not used since it repeats the whole command line, a sweep included,
    and kills the first process, and so the sweep, when another one fails.

    Args:
        columns: processes that hold one replica of the network together.
        overrides: of this run's configuration; of this job's in a sweep.
        directory: of the run.
        decision: see :meth:`Together.decided`.

    Raises:
        UsageError: naming the process that failed, and how.
        SystemExit: if a signal, such as that of Ctrl-C, ended the run.
    """
    arguments = ["-m", "alexnet_repro.train", *overrides, f"hydra.run.dir='{directory}'"]
    in_processes(processes, sys.executable, *arguments, columns=columns, decision=decision)


def in_processes(
    processes: int,
    program: str | Callable[..., Any],
    *arguments: Any,
    columns: int = 1,
    decision: str = "null",
) -> dict[int, Any]:
    """Run ``program``, a file or a function that a new process can import, in every process.

    Returns:
        What the function returned, by rank.

    Raises:
        UsageError, SystemExit: see :func:`launch`.
    """
    # What happened is told here, in one line. The agent's messages have a level of their own.
    for name in ("torch.distributed.elastic", "torch.distributed.elastic.agent.server.api"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with (
        temporary_folder() as reports,
        _environment(processes, decision),
        _signals_restored(),
    ):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=reports.name,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=str(reports)),
        )
        # All of them are passed on to the processes, by torch 2.10 and newer.
        config.signals_to_handle = ",".join(SIGNALS)
        try:
            returned: dict[int, Any] = elastic_launch(config, program)(*arguments)
        except ChildFailedError as error:
            raise _what_failed(error, columns) from error
        except SignalException as error:
            sys.exit(128 + error.sigval)
    return returned


def _what_failed(error: ChildFailedError, columns: int) -> UsageError:
    told, silent = [], {}
    for rank, failure in sorted(error.failures.items()):
        if Path(failure.error_file).is_file():
            told.append(failure)
        else:
            silent[rank] = failure
    # With SIGTERM the launcher ends the others.
    first = {rank: failure for rank, failure in silent.items() if failure.exitcode != -SIGTERM}
    if told and not first:
        # A trial of a search that diverged is no mistake.
        diverged = told[0].error_file_data.get("kind") == DivergenceError.__name__
        return (DivergenceError if diverged else UsageError)(told[0].message)
    # A process that was killed explains why another one lost it, and who waited in vain nothing.
    rank, failure = min(
        (first or silent).items(),
        key=lambda item: (item[1].exitcode == -SIGABRT, item[1].exitcode >= 0),
    )
    place = f"column {rank % columns} of replica {rank // columns}, " if columns > 1 else ""
    who = f"rank {rank} ({place}process {failure.pid})"
    awaited = [str(other) for other, one in silent.items() if one.exitcode != -SIGABRT]
    if failure.exitcode == -SIGABRT and awaited:
        others = " or ".join(awaited)
        how = f"aborted, as NCCL does when rank {others} does not answer within strategy.timeout"
    elif failure.exitcode < 0:
        how = f"was ended by {failure.signal_name()}"
    else:
        how = f"ended with exit code {failure.exitcode}, as told above"
    why = [failure.message for failure in told[:1]]
    return UsageError("; ".join([f"{who} {how}, and with it the others", *why]))


@contextmanager
def _environment(processes: int, decision: str) -> Iterator[None]:
    """Variables for the processes, which share the cores, and for their agent."""
    added = {
        LAUNCHED: decision,
        "OMP_NUM_THREADS": str(max(1, usable_cores() // processes)),
        # Seconds after a signal: a step may take long, and then it is saved.
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "300",
    }
    added = {name: value for name, value in added.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _signals_restored() -> Iterator[None]:
    handlers = {signal.Signals[name]: signal.getsignal(signal.Signals[name]) for name in SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
