"""Commands as a user types them: a process of its own in an empty working directory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forks import Forks

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path, forks: Forks) -> Command:
    """Runs ``python -m alexnet_repro.NAME`` with more arguments in ``tmp_path``."""

    def run(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return forks.run("-m", f"alexnet_repro.{name}", *arguments, cwd=tmp_path, env=environment)

    return run


@pytest.fixture
def anew(tmp_path: Path, cache: Path) -> Command:
    """Runs it in a Python that starts for it, as a user's does."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"alexnet_repro.{name}", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"ALEXNET_REPRO_CACHE": str(cache)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def train(command: Command) -> Command:
    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return command("train", *arguments, **environment)

    return run


@pytest.fixture
def train_tiny(train: Command, tiny: list[str]) -> Command:
    """The command with the arguments of :func:`tiny` and more."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return train(*tiny, *arguments, **environment)

    return run
