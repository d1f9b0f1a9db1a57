"""How fast the whole train command is, as its curve says."""

import csv
import subprocess
import sys
from pathlib import Path

STEPS = 10
"""Of an epoch: 1,400 images of the miniature set in batches of 128."""


class Command:
    """``python -m alexnet_repro.train`` on the miniature set with ``performance=fast``.

    Calling it trains and returns the images per second of the median epoch after the first.

    Args:
        directory: where runs and prepared images go.
        batch_size: images of a step.
        epochs: of a call, of :data:`STEPS` steps each.
    """

    def __init__(self, directory: Path, batch_size: int, epochs: int) -> None:
        self.directory, self.calls = directory, 0
        self.arguments = [
            "performance=fast",
            f"data.cache_dir={directory}/cache",
            f"data.batch_size={batch_size}",
            f"schedule.epochs={epochs + 1}",
            f"trainer.limit_train_batches={STEPS}",
            "trainer.limit_val_batches=1",
            "trainer.limit_test_batches=1",
        ]

    def __call__(self) -> float:
        self.calls += 1
        run = self.directory / f"run{self.calls}"
        command = [sys.executable, "-m", "alexnet_repro.train", *self.arguments]
        command.append(f"hydra.run.dir='{run}'")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.directory)
        with (run / "curve.csv").open() as file:
            rates = sorted(float(row["images_per_second"]) for row in csv.DictReader(file))[1:]
        return rates[len(rates) // 2]
