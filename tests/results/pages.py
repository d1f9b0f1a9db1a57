"""Records as commands write them, for a report about them."""

import copy
import json
import shlex
from pathlib import Path
from typing import Any

CURVE = [
    {"epoch": epoch, "train/top1_error": 90.0 - 10 * epoch, "val/top1_error": 91.0 - 9 * epoch}
    for epoch in (1, 2, 3)
]


def trained(
    config: dict[str, Any],
    top1: float,
    top5: float = 20.0,
    seed: int = 1,
    dataset: str = "imagenet_2010",
    split: str = "test",
    **changes: Any,
) -> dict[str, Any]:
    """A record of a training run with this configuration and these ten-crop errors in percent.

    Args:
        changes: keys that were typed beside the experiment, ``model__width=0.25``.
    """
    config = copy.deepcopy(config) | {"seed": seed}
    typed = [f"experiment={config['run_name']}"]
    for key, value in changes.items():
        typed.append(f"{key.replace('__', '.')}={json.dumps(value)}")
        place = config
        *parents, last = key.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    centre = {"top1": top1 + 1.5, "top5": top5 + 1.3}
    return {
        "format": 1,
        "experiment": "called_anything",
        "seed": seed,
        "command": f"python -m alexnet_repro.train {shlex.join(typed)}",
        "date": "2026-01-01T00:00:00+00:00",
        "commit": "0123456789abcdef",
        "machine": {"processor": "a processor", "gpu": None},
        "dataset": {"name": dataset},
        "split": split,
        "errors": {"centre": centre, "ten": {"top1": top1, "top5": top5}},
        "epochs": 3,
        "train_seconds": 300.0,
        "curve": CURVE,
        "config": config,
    }


def written(directory: Path, *records: dict[str, Any], kind: str = "result") -> Path:
    """A folder of runs with these records."""
    for number, record in enumerate(records):
        run = directory / f"run{number}"
        run.mkdir(parents=True, exist_ok=True)
        (run / f"{kind}.json").write_text(json.dumps(record))
    return directory
