"""The soak: ``make soak`` kills a training at least 30 times and writes what it found.

python -m tests.soak.kill_anywhere --kills 40 --seed 0 --output results/reliability/kills.json
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from alexnet_repro.base.files import write_json
from alexnet_repro.base.record import provenance
from tests.forks import Forks

from .images import noise_images
from .killing import compare, described, killed_run, whole_run

TRAINING = [
    "model=alexnet_small",
    "model.width=0.1",
    "data=folder",
    "data.batch_size=8",
    "trainer=cpu",
    # The learning rate is divided now and then, and training goes on.
    "schedule.patience=3",
    "schedule.threshold=100",
    "schedule.divisions=1000",
    "checkpoint_every_n_steps=3",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/reliability/kills.json"))
    asked = parser.parse_args()
    started, begun = time.monotonic(), provenance("", [])
    with tempfile.TemporaryDirectory() as folder, Forks(ALEXNET_REPRO_CACHE=folder) as forks:
        top = Path(folder)
        root = noise_images(top / "images", train=64)
        arguments = [
            *TRAINING, f"data.source.root={root}", f"schedule.epochs={asked.epochs}",
        ]  # fmt: skip
        for name in ("whole", "killed"):
            (top / name).mkdir()
        whole = whole_run(forks, top / "whole", arguments)
        moments = ["any", "writing"] * (asked.kills // 2)
        killed, kills = killed_run(forks, top / "killed", arguments, moments, asked.seed)
        different = compare(whole, killed)
    record = begun | {
        "command": " ".join(["python -m tests.soak.kill_anywhere", *sys.argv[1:]]),
        "training": [*TRAINING, arguments[-1]],
        "wall_seconds": round(time.monotonic() - started),
        "kills": described(kills),
        "differences": different,
    }
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(asked.output, record)
    writing = sum(kill.partial_bytes is not None for kill in kills)
    print(f"{len(kills)} kills, {writing} within a checkpoint; {len(different)} differences")
    for line in different:
        print(f"  {line}")
    sys.exit(bool(different) or len(kills) < asked.kills)


if __name__ == "__main__":
    main()
