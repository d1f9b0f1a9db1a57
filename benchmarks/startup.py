"""How long it takes until a command says something: whole processes, start to end."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
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


def startup(calls: Sequence[str], rounds: int) -> Iterator[Measured]:
    """These calls, and what importing the package takes beyond torch."""
    with tempfile.TemporaryDirectory(prefix="alexnet-benchmark-") as directory:
        process = partial(subprocess.run, cwd=directory, capture_output=True)
        contenders = {
            name: partial(seconds, partial(process, [sys.executable, *CALLS[name]]))
            for name in (TORCH, IMPORT, *calls)
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
    parser = argparse.ArgumentParser(description=__doc__)
    others = [name for name in CALLS if name not in (TORCH, IMPORT)]
    parser.add_argument("--calls", nargs="+", choices=others, default=others)
    run(parser, startup)
