"""Several processes started by torchrun, as a user would."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Torchrun = Callable[..., subprocess.CompletedProcess[str]]
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # networks.py, which the started processes import too


@pytest.fixture(scope="session")
def torchrun() -> Torchrun:
    """Runs a script of this folder in so many processes."""

    def run(
        script: str, *arguments: object, processes: int = 2
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={processes}", str(HERE / script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
        return done

    return run
