"""Commands as a user types them: a process of its own in an empty working directory."""

import subprocess
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
