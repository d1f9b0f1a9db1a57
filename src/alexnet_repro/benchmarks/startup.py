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
    "import torch": ("-c", "import torch"),
    "import hydra": ("-c", "import hydra"),
    "import lightning": ("-c", "import lightning"),
    "import alexnet_repro, AlexNet": ("-c", "from alexnet_repro import AlexNet"),
    "train --help": (*TRAIN, "--help"),
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
    """Whole processes, and what the libraries take of them.

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

        timings = interleaved(
            [Contender(name, process(*arguments)) for name, arguments in CALLS.items()], rounds
        )
    by_name = {timing.name: timing.median for timing in timings}
    beyond = by_name["import alexnet_repro, AlexNet"] - by_name["import torch"]
    yield Measured(
        "From the start of a process to its end",
        [timing.row() for timing in timings],
        {"seconds that importing AlexNet takes beyond torch": round(beyond, 3)},
    )
