"""What a training holds, epoch by epoch: memory, open files, threads, processes.

As a program it trains 2,000 steps in 20 epochs and writes what it saw:

    python -m tests.soak.leaking --output results/reliability/leaks.json
"""

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from alexnet_repro.base.files import write_json
from alexnet_repro.base.record import provenance
from tests.forks import Forks

from .images import noise_images
from .killing import train

EPOCHS, STEPS, BATCH = 20, 100, 8
TRAINING = [
    "model=alexnet_small",
    "model.width=0.05",
    "data=folder",
    "data.image_size=32",
    "data.crop_size=28",
    f"data.batch_size={BATCH}",
    "data.num_workers=2",
    "trainer=cpu",
    "schedule.patience=1000",
    "checkpoint_every_n_steps=50",
]


@dataclass(frozen=True)
class Held:
    """By a training process and those that it started.

    Attributes:
        epoch: that has just ended.
        bytes: resident memory of the process.
        files: that it has open.
        threads: of it.
        processes: that it started and that run.
    """

    epoch: int
    bytes: int
    files: int
    threads: int
    processes: int


def watched(forks: Forks, directory: Path, arguments: list[str], epochs: int) -> list[Held]:
    """What a training holds after each of its epochs."""
    training = train(forks, directory, *arguments, f"schedule.epochs={epochs}")
    found: list[Held] = []
    while training.poll() is None:
        epoch = training.stdout.count("\nepoch ")
        if epoch > (found[-1].epoch if found else 0):
            try:
                found.append(held(training.pid, epoch))
            except (FileNotFoundError, ProcessLookupError):
                break
        time.sleep(0.005)
    assert training.wait() == 0, training.printed[-2000:]
    return found


def held(pid: int, epoch: int) -> Held:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return Held(
        epoch,
        1024 * int(status["VmRSS"].split()[0]),
        len(list(Path(f"/proc/{pid}/fd").iterdir())),
        int(status["Threads"]),
        len(descendants(pid)),
    )


def descendants(pid: int) -> list[int]:
    """The processes that it started, and those that these did."""
    try:
        text = "".join(p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/children"))
    except FileNotFoundError:
        return []
    return [found for child in map(int, text.split()) for found in (child, *descendants(child))]


def growth(seen: list[Held], after: int) -> dict[str, int]:
    """How much more is held in the last epochs than after so many: the least of each half."""
    later = [one for one in seen if one.epoch > after]
    middle = len(later) // 2
    return {
        name: min(getattr(one, name) for one in later[middle:])
        - min(getattr(one, name) for one in later[:middle])
        for name in ("bytes", "files", "threads", "processes")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/reliability/leaks.json"))
    asked = parser.parse_args()
    begun, started = provenance("", []), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Forks(ALEXNET_REPRO_CACHE=folder) as forks:
        root = noise_images(Path(folder, "images"), train=-(-STEPS * BATCH // 3))
        arguments = [*TRAINING, f"data.source.root={root}"]
        seen = watched(forks, Path(folder), arguments, EPOCHS)
    grown = growth(seen, after=4)
    record = begun | {
        "command": " ".join(["python -m tests.soak.leaking", *sys.argv[1:]]),
        "training": [*TRAINING, f"schedule.epochs={EPOCHS}"],
        "steps": EPOCHS * STEPS,
        "wall_seconds": round(time.monotonic() - started),
        "growth": grown,
        "epochs": [asdict(one) for one in seen],
    }
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(asked.output, record)
    print(f"{EPOCHS * STEPS} steps in {EPOCHS} epochs; more is held in the last ones by {grown}")


if __name__ == "__main__":
    main()
