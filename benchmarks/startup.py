"""How long it takes until a command says something: whole processes, start to end."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial

from measuring import Measured, in_turn, run, seconds

IMPORT, TORCH = "import alexnet_repro, AlexNet", "import torch"
TRAIN = ("-m", "alexnet_repro.train")
ONE_OF_EACH = [f"trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]
CALLS = {
    TORCH: ("-c", "import torch"),
    "import hydra": ("-c", "import hydra"),
    "import lightning": ("-c", "import lightning"),
    IMPORT: ("-c", "from alexnet_repro import AlexNet"),
    "train --help": (*TRAIN, "--help"),
    "train --cfg job": (*TRAIN, "--cfg", "job"),
    "train with a wrong value": (*TRAIN, "model.dropout=2"),
    "train summary=true": (*TRAIN, "summary=true"),
    "train, one step and one image tested": (
        *TRAIN,
        "experiment=demo",
        "schedule.epochs=1",
        "data.cache_dir=cache",
        *ONE_OF_EACH,
    ),
}


def startup(rounds: int) -> Iterator[Measured]:
    """Every call, and what importing the package takes beyond torch."""
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as directory:
        process = partial(subprocess.run, cwd=directory, capture_output=True)
        contenders = {
            name: partial(seconds, partial(process, [sys.executable, *arguments]))
            for name, arguments in CALLS.items()
        }
        timings = in_turn(contenders, rounds)
    medians = {timing.name: timing.median for timing in timings}
    yield Measured(
        "From the start of a process to its end",
        [timing.row() for timing in timings],
        {
            "seconds that importing AlexNet takes beyond torch": round(
                medians[IMPORT] - medians[TORCH], 3
            )
        },
    )


if __name__ == "__main__":
    run(argparse.ArgumentParser(description=__doc__), startup)
