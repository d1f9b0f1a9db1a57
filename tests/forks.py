"""Commands in processes that start at once: forks of one that has imported what takes seconds.

``python -m alexnet_repro.train`` imports torch, Lightning and Hydra before it does anything. Here a
server imports them, in one process for a whole session of tests, and forks for every command; what
the command then does is what it does when a user starts it, in a session, a folder and an
environment of its own.
"""

import atexit
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

IMPORTED = (
    "alexnet_repro.data.prepare",
    "alexnet_repro.interop.conversion",
    "alexnet_repro.training.run",
    "alexnet_repro.results.evaluation",
    "alexnet_repro.results.report",
    "alexnet_repro.figures.drawing",
    "alexnet_repro.analysis.retrieval",
)
"""What the commands import when they have read their configuration; they themselves are not."""

TIMEOUT = 900
"""Seconds after which a command hangs: more than any takes on cores that others use too."""


class Fork:
    """A command that was started, as :class:`subprocess.Popen` has it.

    Args:
        pid: of its process, which leads a process group.
        folder: for what it prints and how it ended.
    """

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid = pid
        self._folder = folder

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()

    @property
    def printed(self) -> str:
        return self.stdout + self.stderr

    def poll(self) -> int | None:
        """Its exit code, the negative of a signal's number, or None while it runs."""
        code = self._folder / "code"
        return int(code.read_text()) if code.exists() else None

    def wait(self, timeout: float = TIMEOUT) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"runs still after {timeout} s: {self.printed}")
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        """End it and the processes of its group, if it runs."""
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()


class Forks:
    """A server that starts commands.

    Args:
        environment: variables that the commands have besides those of this process.
    """

    def __init__(self, **environment: str) -> None:
        self._environment = environment
        self._folder = tempfile.TemporaryDirectory()
        self._started: list[Fork] = []
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            # Two threads on cores that others use too wait for each other most of the time.
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *error: object) -> None:
        for fork in self._started:
            fork.kill()
        self._server.kill()
        self._server.communicate()
        self._folder.cleanup()

    def start(
        self,
        *arguments: object,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        largest_file: int | None = None,
    ) -> Fork:
        """Start ``python ARGUMENTS``: ``-m``, a module and its arguments, or the path of a script.

        Args:
            env: more variables of its environment.
            largest_file: in bytes, that it may write.
        """
        folder = Path(self._folder.name, str(len(self._started)))
        folder.mkdir()
        asked = {
            "folder": str(folder),
            "arguments": [*map(str, arguments)],
            "cwd": str(cwd),
            "environment": os.environ | self._environment | (env or {}),
            "largest_file": largest_file,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        fork = Fork(int(self._server.stdout.readline()), folder)
        self._started.append(fork)
        return fork

    def run(
        self, *arguments: object, timeout: float = TIMEOUT, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Start it and wait until it has ended."""
        fork = self.start(*arguments, **options)
        try:
            code = fork.wait(timeout)
        finally:
            fork.kill()
        return subprocess.CompletedProcess(arguments, code, fork.stdout, fork.stderr)


def serve() -> None:
    """Start what each line of stdin asks for, and print its process id."""
    for module in IMPORTED:
        __import__(module)
    # Nobody here waits for those that wait for the commands.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            watch(**json.loads(line))


def watch(folder: str, **asked: Any) -> None:
    """Fork the command, print its process id, and write down how it ended.

    It ends with the server, however that ends.
    """
    server = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    # A background job of a shell that is not interactive ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    streams = [os.open("/dev/null", os.O_RDONLY)]
    streams += [os.open(f"{folder}/{n}", os.O_WRONLY | os.O_CREAT) for n in ("stdout", "stderr")]
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        command(**asked)
    print(pid, flush=True)
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        signal.sigtimedwait({signal.SIGCHLD}, 1)
        if os.getppid() != server:
            os.killpg(pid, signal.SIGKILL)
    Path(folder, "unfinished").write_text(str(os.waitstatus_to_exitcode(ended[1])))
    os.replace(f"{folder}/unfinished", f"{folder}/code")
    os._exit(0)


def command(
    arguments: list[str], cwd: str, environment: dict[str, str], largest_file: int | None
) -> None:
    """What ``python ARGUMENTS`` does; this process ends with it."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - that of the server may hold more lines
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    code: object = 0
    try:
        if arguments[0] == "-m":
            sys.argv, sys.path[0] = arguments[1:], cwd
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code or 0
    except KeyboardInterrupt:
        traceback.print_exc()
        code = -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        code = 1
    finish(code)


def finish(code: object) -> None:
    """End this process as the end of a program does: its threads, then what it asked for."""
    if not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    serve()
