"""Commands as a user types them: a process of its own in an empty working directory."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def train(tmp_path: Path, cache: Path) -> Train:
    """Runs ``python -m alexnet_repro.train`` with the given arguments in ``tmp_path``."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "alexnet_repro.train", *arguments],
            cwd=tmp_path,
            env=os.environ | {"ALEXNET_REPRO_CACHE": str(cache)} | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def train_tiny(train: Train, tiny: list[str]) -> Train:
    """The command with the arguments of :func:`tiny` and more."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return train(*tiny, *arguments, **environment)

    return run
