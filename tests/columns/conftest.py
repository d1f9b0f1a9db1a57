"""Several processes of one network, as torchrun starts them."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forks import Forks

Torchrun = Callable[..., None]
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # networks.py, which the started processes import too


@pytest.fixture(scope="session")
def torchrun(forks: Forks) -> Torchrun:
    """Runs a script of this folder in so many processes with the variables that torchrun sets.

    ``tests/commands/test_columns.py`` runs torchrun itself.
    """

    def run(script: str, *arguments: object, processes: int = 2) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "17"}
        job |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
        started = [
            forks.start(
                HERE / script,
                *arguments,
                cwd=HERE,
                env=job | {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0"},
            )
            for rank in range(processes)
        ]
        for process in started:
            assert process.wait() == 0, process.stderr

    return run
