"""What changes the last bits of the weights, measured: ``make soak``, docs/reliability.md.

python -m tests.soak.last_bits --output results/reliability/last_bits.json
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from alexnet_repro.base.files import write_json
from alexnet_repro.base.record import provenance

from .images import noise_images

TRAINING = ["model=alexnet_small", "model.width=0.1", "data=folder", "data.batch_size=8"]
TRAINING += ["schedule.patience=1000", "schedule.epochs=2", "data.num_workers=0"]
# Two processes draw other masks than one.
TRAINING += ["model.dropout=0"]
ONE, TWO = ["trainer=cpu"], ["trainer=two_cpu"]
VARIATIONS: dict[str, tuple[list[str], int]] = {
    "the same again": (ONE, 1),
    "deterministic": ([*ONE, "trainer.deterministic=true"], 1),
    "reader processes": ([*ONE, "data.num_workers=2"], 1),
    "threads": (ONE, 2),
    "columns in two processes": (TWO, 1),
    "micro-batches": ([*TWO, "strategy.micro_batches=4"], 1),
    "precision": ([*ONE, "performance=fast"], 1),
}
"""Arguments and threads of a training that differs from the first in one thing."""


def weights(directory: Path, root: Path, arguments: list[str], threads: int) -> torch.Tensor:
    """All weights of a network after its training, one after the other."""
    directory.mkdir()
    subprocess.run(
        [
            *(sys.executable, "-m", "alexnet_repro.train", "hydra.run.dir=run"),
            *TRAINING,
            *arguments,
            f"data.source.root={root}",
        ],
        cwd=directory,
        env=os.environ
        | {"OMP_NUM_THREADS": str(threads), "ALEXNET_REPRO_CACHE": str(root.parent / "cache")},
        check=True,
        capture_output=True,
    )
    path = directory / "run" / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    return torch.cat([state[name].flatten() for name in sorted(state)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/reliability/last_bits.json"))
    asked = parser.parse_args()
    begun, started = provenance("", []), time.monotonic()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        root = noise_images(top / "images", train=64)
        first = weights(top / "first", root, ONE, 1)
        for name, (arguments, threads) in VARIATIONS.items():
            other = weights(top / name, root, arguments, threads)
            rows[name] = {
                "arguments": arguments,
                "threads": threads,
                "equal": torch.equal(first, other),
                "largest_difference": float((first - other).abs().max()),
                "largest_weight": float(first.abs().max()),
            }
            print(f"{name}: {rows[name]['largest_difference']:.1e}")
    record = begun | {
        "command": " ".join(["python -m tests.soak.last_bits", *sys.argv[1:]]),
        "training": TRAINING,
        "steps": 48,
        "wall_seconds": round(time.monotonic() - started),
        "variations": rows,
    }
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(asked.output, record)


if __name__ == "__main__":
    main()
