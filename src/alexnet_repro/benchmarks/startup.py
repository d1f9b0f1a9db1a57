"""How long it takes until a command says something."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from alexnet_repro.benchmarks.report import Measured
from alexnet_repro.benchmarks.timing import Contender, interleaved

TRAIN = ("-m", "alexnet_repro.train")
CALLS = {
    "import alexnet_repro": ("-c", "import alexnet_repro"),
    "train --cfg job": (*TRAIN, "--cfg", "job"),
    "train with a wrong value": (*TRAIN, "model.dropout=2"),
    "train summary=true": (*TRAIN, "summary=true"),
    "train, one step and one image tested": (
        *TRAIN,
        "experiment=demo",
        "schedule.epochs=1",
        "trainer.limit_train_batches=1",
        "trainer.limit_val_batches=1",
        "trainer.limit_test_batches=1",
    ),
}


def startup(rounds: int) -> Iterator[Measured]:
    """Whole processes, beside one that only imports torch.

    Args:
        rounds: of timing.
    """
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as temporary:
        directory = Path(temporary)

        def process(*arguments: str) -> Callable[[], object]:
            command = [sys.executable, *arguments]
            if "experiment=demo" in arguments:
                command.append(f"data.cache_dir={directory}/cache")
            return lambda: subprocess.run(command, cwd=directory, capture_output=True)

        torch_alone, *timings = interleaved(
            [
                Contender("import torch", process("-c", "import torch")),
                *(Contender(name, process(*arguments)) for name, arguments in CALLS.items()),
            ],
            rounds,
        )
    yield Measured(
        "From the start of a process to its end",
        [timing.row() for timing in (torch_alone, *timings)],
    )
