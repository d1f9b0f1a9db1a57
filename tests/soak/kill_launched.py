"""The soak of several processes: ``make soak`` kills one of them, or all, and goes on each time.

python -m tests.soak.kill_launched --kills 100 --output results/reliability/kills_launched.json

Two columns are started by the command itself, by torchrun and by what stands for srun; the first
column, the second one, who started them, or all of them are killed: as they start, as they train,
while a checkpoint is being written, and in the test. The same command goes on. What an
earlier process of the same commit has recorded counts: a soak may be stopped and started again.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from alexnet_repro.base.files import write_json
from alexnet_repro.base.record import provenance
from tests.commands.test_column_faults import descendants
from tests.commands.test_ddp import MARK, alive
from tests.forks import Fork, Forks

from .images import noise_images
from .kill_anywhere import TRAINING
from .killing import compare, wait_for_partial

EPOCHS = 12
TRAIN = ("-m", "alexnet_repro.train")
LAUNCHERS: dict[str, tuple[str, ...]] = {
    "own": TRAIN,
    "torchrun": ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *TRAIN),
    "srun": (str(Path(__file__).parents[1] / "commands" / "srun.py"), "2"),
}
VICTIMS = ("rank 0", "rank 1", "who started them", "all")
MOMENTS = ("start", "training", "checkpoint", "test")
HANGS = 180.0
"""Seconds after a kill in which all processes have to have ended: three times the timeout."""


def ranks(pid: int) -> dict[str, int]:
    """The processes below ``pid`` that are columns, by their rank."""
    found = {}
    for child in descendants(pid):
        variables = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
        named = dict(variable.partition("=")[::2] for variable in variables if variable)
        # A reader has the environment of its column, which comes first.
        if rank := named.get("RANK", named.get("SLURM_PROCID")):
            found.setdefault(rank, child)
    return found


def wait_for(moment: str, run: Path, fork: Fork, rng: random.Random) -> None:
    """Until the moment comes, or the run ends."""

    def until(there: Callable[[], bool]) -> None:
        while fork.poll() is None and not there():
            time.sleep(0.01)

    curve = run / "curve.csv"
    rows = len(curve.read_text().splitlines()) if curve.exists() else 1
    until(lambda: len(ranks(fork.pid)) == 2)
    if moment == "start":
        time.sleep(rng.uniform(0, 6))
    elif moment == "checkpoint":
        wait_for_partial(run / "checkpoints", run / "result.json")
    else:
        more = EPOCHS + 1 if moment == "test" else min(rows + 1, EPOCHS)
        until(lambda: curve.exists() and len(curve.read_text().splitlines()) >= more)
        time.sleep(rng.uniform(0, 0.5))


def kill(victim: str, fork: Fork) -> bool:
    """Whether it was still there to be killed."""
    pids = ranks(fork.pid)
    if fork.poll() is not None or len(pids) < 2:
        return False
    first = {"rank 0": pids["0"], "rank 1": pids["1"]}.get(victim, fork.pid)
    for pid in [first, *(pids.values() if victim == "all" else ())]:
        os.kill(pid, signal.SIGKILL)
    return True


def killed_run(
    forks: Forks, top: Path, arguments: list[str], kills: list[tuple[str, str]], rng: random.Random
) -> list[dict[str, Any]]:
    """One run that is killed so often, and what became of it each time."""
    launcher, found = arguments[0], []
    for victim, moment in [*kills, ("nobody", "")]:
        fork = forks.start(
            *LAUNCHERS[launcher], *arguments[1:], f"hydra.run.dir={top / 'run'}",
            cwd=top, env={MARK: str(top)},
        )  # fmt: skip
        if victim == "nobody":
            code = fork.wait()
            assert code == 0, fork.printed[-3000:]
            return found
        wait_for(moment, top / "run", fork, rng)
        if not kill(victim, fork):
            continue
        begun, hung = time.monotonic(), False
        while (fork.poll() is None or alive(str(top))) and not hung:
            hung = time.monotonic() - begun > HANGS
            time.sleep(0.1)
        seconds = round(time.monotonic() - begun, 1)
        orphans = len(alive(str(top))) if fork.poll() is not None else 0
        one = {"launcher": launcher, "killed": victim, "moment": moment, "ended_after": seconds}
        found.append(one | {"hung": hung and not orphans, "orphans": orphans})
        for process in alive(str(top)):
            os.kill(int(process.name), signal.SIGKILL)
        fork.kill()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("results/reliability/kills_launched.json")
    )
    asked = parser.parse_args()
    started, begun, rng = time.monotonic(), provenance("", []), random.Random(asked.seed)
    # Who stands for srun is no parent that the system watches, as slurmstepd is.
    ways = [w for w in product(LAUNCHERS, VICTIMS) if w != ("srun", "who started them")]
    rng.shuffle(ways)
    found: list[dict[str, Any]] = []
    different: dict[str, list[str]] = {}
    runs, seconds = 0, 0
    if asked.output.exists():
        before = json.loads(asked.output.read_text())
        if before["commit"] == begun["commit"]:
            found, different = before["kills"], before["differences"]
            runs, seconds = before["runs"], before["wall_seconds"]
    with tempfile.TemporaryDirectory() as folder, Forks(ALEXNET_REPRO_CACHE=folder) as forks:
        top = Path(folder)
        training = [*TRAINING, f"schedule.epochs={EPOCHS}", "trainer=two_cpu", "data.num_workers=0"]
        training = [one for one in training if one != "trainer=cpu"] + ["strategy.timeout=60"]
        images = f"data.source.root={noise_images(top / 'images', train=64)}"
        arguments = [*training, images, "skip_finished=true"]
        killed_run(forks, new(top / "whole"), ["own", *arguments], [], rng)
        while len(found) < asked.kills:
            launcher, victim = ways[runs % len(ways)]
            kills = [(victim, moment) for moment in MOMENTS][: asked.kills - len(found)]
            place = new(top / str(runs))
            found += killed_run(forks, place, [launcher, *arguments], kills, rng)
            if lines := compare(top / "whole" / "run", place / "run"):
                different[str(runs)] = lines
            runs += 1
            shutil.rmtree(place)
            record = begun | {
                "command": " ".join(["python -m tests.soak.kill_launched", *sys.argv[1:]]),
                "training": training,
                "wall_seconds": seconds + round(time.monotonic() - started),
                "runs": runs,
                "counted": counted(found, different),
                "kills": found,
                "differences": different,
            }
            asked.output.parent.mkdir(parents=True, exist_ok=True)
            write_json(asked.output, record)
    sums = counted(found, different)
    print(sums, *different.values(), sep="\n")
    sys.exit(bool(different or sums["hangs"] or sums["orphans"]))


def counted(found: list[dict[str, Any]], different: dict[str, list[str]]) -> dict[str, Any]:
    """The sums of what was found."""
    return {
        "kills": len(found),
        "hangs": sum(one["hung"] for one in found),
        "orphans": sum(one["orphans"] for one in found),
        "runs_with_other_weights": len(different),
        **{
            key: dict(Counter(one[key] for one in found))
            for key in ("launcher", "killed", "moment")
        },
    }


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
