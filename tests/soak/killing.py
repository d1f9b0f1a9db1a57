"""Kill a training at random moments, go on each time, and compare what it ends with."""

import json
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from alexnet_repro.training.checkpoint import BEFORE, LAST, damage
from tests.forks import Fork, Forks

UNLIKE = ("seconds", "images_per_second", "elapsed", "resume", "dirpath", "logger", "current_score")
"""What differs between two runs that compute the same: clocks, where their files lie, and a score
that Lightning writes into checkpoints and never reads back: that of the last epoch of a process."""


@dataclass(frozen=True)
class Kill:
    """What was found after a SIGKILL.

    Attributes:
        moment: ``writing`` a checkpoint, as its unfinished file showed, or ``any``.
        seconds: after the process had been started.
        partial_bytes: of the unfinished checkpoint that the kill left; None for none.
        step: of the newest checkpoint; None before the first.
        damaged: why that one cannot be read, or None.
    """

    moment: str
    seconds: float
    partial_bytes: int | None
    step: int | None
    damaged: str | None


def train(forks: Forks, directory: Path, *arguments: str, **options: Any) -> Fork:
    """Start a training in ``directory``, which writes to ``run`` there if no other is asked for."""
    command = ("-m", "alexnet_repro.train", "hydra.run.dir=run")
    return forks.start(*command, *arguments, cwd=directory, **options)


def trained(forks: Forks, directory: Path, *arguments: str, **options: Any) -> tuple[int, str]:
    """How a training ended, and what it printed."""
    fork = train(forks, directory, *arguments, **options)
    return fork.wait(), fork.printed


def whole_run(forks: Forks, directory: Path, arguments: list[str]) -> Path:
    """The folder of a run that nobody disturbs."""
    code, printed = trained(forks, directory, *arguments)
    assert code == 0, printed[-2000:]
    return directory / "run"


def killed_run(
    forks: Forks, directory: Path, arguments: list[str], moments: Sequence[str], seed: int
) -> tuple[Path, list[Kill]]:
    """The folder of a run that is killed and goes on again and again, and what was found each time.

    Args:
        moments: of the kills: ``writing`` waits for an unfinished checkpoint to appear, ``any``
            for a random time. A run that has ended before one of them is not killed any more.
    """
    rng, run = random.Random(seed), directory / "run"
    checkpoints = run / "checkpoints"
    found: list[Kill] = []
    for moment in (*moments, None):
        last = next((p for p in (checkpoints / LAST, checkpoints / BEFORE) if p.exists()), None)
        resume = [] if last is None else [f"resume={last}"]
        fork = train(forks, directory, *arguments, *resume)
        begun, started = time.time_ns(), time.monotonic()
        if moment is not None:
            if moment == "writing":
                wait_for_partial(checkpoints, run / "result.json")
            time.sleep(rng.uniform(0, 0.02) if moment == "writing" else rng.uniform(0.2, 3))
            seconds = time.monotonic() - started
            fork.kill()
        if (code := fork.wait()) != -signal.SIGKILL:
            assert code == 0, fork.printed[-2000:]
            break
        found.append(after_kill(moment, seconds, checkpoints, begun))
    return run, found


def after_kill(moment: str, seconds: float, checkpoints: Path, begun: int) -> Kill:
    """What a process left that began at ``begun``, in nanoseconds since 1970."""
    partials = checkpoints.glob(".*.ckpt-*")
    partial = next((path for path in partials if path.stat().st_mtime_ns > begun), None)
    newest = checkpoints / LAST
    return Kill(
        moment,
        round(seconds, 3),
        None if partial is None else partial.stat().st_size,
        step_of(newest) if newest.exists() else None,
        damage(newest) if newest.exists() else None,
    )


def wait_for_partial(checkpoints: Path, end: Path) -> None:
    """Until a checkpoint begins to be written, not one that an earlier kill left, or the end."""
    before = {path: path.stat().st_mtime_ns for path in checkpoints.glob(".*.ckpt-*")}
    while not end.exists():
        for path in checkpoints.glob(".*.ckpt-*"):
            # It may have got its name in between.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime_ns != before.get(path):
                    return
        time.sleep(0.0005)


def step_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["global_step"])


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two checkpoints or records differ, in a bit of a tensor or anything else."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        one, other = ({_named(k): v for k, v in level.items()} for level in (one, other))
        for key in sorted(one.keys() | other.keys(), key=str):
            if key not in UNLIKE and not str(key).endswith("_path"):
                values = (level.get(key, "missing") for level in (one, other))
                yield from differences(*values, f"{place}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        for number, pair in enumerate(zip_longest(one, other, fillvalue="missing")):
            yield from differences(*pair, f"{place}/{number}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.dtype != other.dtype or not torch.equal(one, other):
            yield f"{place}: tensors"
    elif one != other:
        yield f"{place}: {one!r} and {other!r}"


def _named(key: Any) -> Any:
    """A path by its name: the two runs lie in folders of their own."""
    return Path(key).name if isinstance(key, str) and key.startswith("/") else key


def compare(whole: Path, killed: Path) -> list[str]:
    """Where the checkpoints, the curve and the errors of two runs differ."""
    found = []
    for name in (LAST, "best.ckpt"):
        one, other = (
            torch.load(run / "checkpoints" / name, weights_only=True) for run in (whole, killed)
        )
        found += [f"{name}{where}" for where in differences(one, other)]
    one, other = (json.loads((run / "result.json").read_text()) for run in (whole, killed))
    for part in ("errors", "curve", "epochs", "images"):
        found += [f"result.json/{part}{w}" for w in differences(one[part], other[part])]
    return found


def described(kills: list[Kill]) -> list[dict[str, Any]]:
    """For a record."""
    return [asdict(kill) for kill in kills]
