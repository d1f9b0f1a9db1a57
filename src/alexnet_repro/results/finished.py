"""What has been trained before: a sweep that is started again need not train it once more."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_repro.learning.checkpoint import read_checkpoint
from alexnet_repro.learning.checkpoint_file import BEFORE, LAST, whole
from alexnet_repro.results.conditions import changing

UNMEASURED = (
    "logger",
    "resume",
    "skip_finished",
    "checkpoint_every_n_steps",
    "on_nonfinite",
    "summary",
)
"""Keys that do not change what a run measures, if it ends."""


def same_configuration(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations train the same network on the same data."""

    def measured(config: Mapping[str, Any]) -> str:
        values = {key: value for key, value in config.items() if key not in UNMEASURED}
        values["callbacks"] = changing(config.get("callbacks") or {})
        return json.dumps(values, sort_keys=True)

    return measured(one) == measured(other)


def finished_run(directory: Path, values: Mapping[str, Any]) -> Path | None:
    """The record of a run with this configuration in ``directory`` or in a folder beside it.

    The jobs of a sweep lie beside each other, under other numbers where the sweep has been changed.
    """
    for path in sorted(directory.parent.glob("*/result.json")):
        if same_configuration(json.loads(path.read_text())["config"], values):
            return path
    return None


def interrupted_run(directory: Path, values: Mapping[str, Any]) -> Path | None:
    """The last checkpoint in ``directory`` of a run with this configuration that has not ended."""
    written = (directory / "checkpoints" / name for name in (LAST, BEFORE))
    found = next(filter(Path.is_file, written), None)
    if found is None:
        return None
    path = whole(found)
    same = same_configuration(read_checkpoint(path).get("config", {}), values)
    return path if same else None


def best_validation_error(path: Path) -> float | None:
    """The least top-1 error in percent on the validation images in the curve of a record.

    None if there is no record, as of a run of one batch.
    """
    if not path.is_file():
        return None
    curve = json.loads(path.read_text())["curve"]
    return min((row["val/top1_error"] for row in curve), default=100.0)
