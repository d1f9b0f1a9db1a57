"""The records under a folder, and quantities in them by path."""

import json
import logging
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_repro.errors import UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What a command measured.

    Attributes:
        name: path of the file, relative to the folder that was read.
        kind: name of the file without its ending: ``result`` (of a training run), ``evaluation``,
            ``kernels``, …
        values: its content.
    """

    name: str
    kind: str
    values: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        named = self.values.get("dataset") or {"name": self.network.get("data", "")}
        return str(named.get("name", ""))

    @property
    def split(self) -> str:
        return str(self.values.get("split") or (self.values.get("dataset") or {}).get("split", ""))

    @property
    def network(self) -> Mapping[str, Any]:
        """The one network that was measured; empty for an ensemble and where there is none."""
        checkpoints = self.values.get("checkpoints") or [self.values.get("network") or {}]
        network: Mapping[str, Any] = checkpoints[0] if len(checkpoints) == 1 else {}
        return network

    @property
    def configs(self) -> list[Mapping[str, Any]]:
        """The configurations that the networks were trained with, if all of them are known."""
        measured = self.values.get("checkpoints") or [self.values.get("network") or {}]
        networks = [self.values] if self.kind == "result" else measured
        configs = [network.get("config") for network in networks]
        known = [one for one in configs if isinstance(one, Mapping) and "model" in one]
        return known if len(known) == len(configs) else []

    @property
    def seed(self) -> int | None:
        """Of the training; what measures a network may have a seed of its own."""
        seed: int | None = self.network.get("seed", self.values.get("seed"))
        return seed


def read_records(directory: Path) -> list[Record]:
    """Every record under ``directory``, in the order of their paths.

    A file that holds something else is passed over; one that is damaged is named and left out.

    Raises:
        UsageError: if there is no such folder.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: there is no such folder; train and evaluate write one")
    records = []
    for path in sorted(directory.rglob("*.json")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            log.warning("%s is left out: it cannot be read as JSON (%s)", path, error)
            continue
        if isinstance(values, dict) and {"format", "command", "date"} <= values.keys():
            name = path.relative_to(directory).as_posix()
            records.append(Record(name, path.stem, values))
    return records


OPERATIONS = {" - ": operator.sub, " / ": operator.truediv}
CURVE = re.compile(r"(first_epoch|first_seconds|epoch_of_lowest)\(([\w/]+)(?: <= ([\d.]+))?\)")


def quantity(values: Mapping[str, Any], expression: str) -> float | None:
    """A figure of a record, or None where it has none.

    Args:
        expression: a path, such as ``errors.ten.top1``, ``curve[-1].train/top1_error`` or
            ``ways[name=fc7].mean_average_precision`` (the mean over all that match); the
            difference ``A - B`` or ratio ``A / B`` of two paths;
            ``first_epoch(train/top1_error <= 25)``, the same with ``first_seconds`` (of training),
            or ``epoch_of_lowest(val/top1_error)`` of the learning curve.
    """
    if curve := CURVE.fullmatch(expression):
        return _epoch(values.get("curve") or [], *curve.groups())
    for sign, operation in OPERATIONS.items():
        left, found, right = expression.partition(sign)
        if found:
            a, b = _at(values, left), _at(values, right)
            if a is None or b is None or (sign == " / " and not b):
                return None
            return float(operation(a, b))
    return _at(values, expression)


def _epoch(rows: list[Any], function: str, column: str, threshold: str | None) -> float | None:
    known = [row for row in rows if row.get(column) is not None]
    if function == "epoch_of_lowest":
        return float(min(known, key=lambda row: row[column])["epoch"]) if known else None
    what = function.removeprefix("first_")
    reached = (row[what] for row in known if row[column] <= float(threshold or 0))
    return next(map(float, reached), None)


def _at(values: Any, path: str) -> float | None:
    found = [values]
    for key, index in re.findall(r"([^.\[\]]+)|\[([^\]]+)\]", path):
        found = [item for value in found for item in _step(value, key, index)]
    numbers = [float(x) for x in found if isinstance(x, int | float) and not isinstance(x, bool)]
    return sum(numbers) / len(numbers) if numbers else None


def _step(value: Any, key: str, index: str) -> list[Any]:
    if key:
        return [value[key]] if isinstance(value, Mapping) and key in value else []
    if not isinstance(value, list):
        return []
    if "=" not in index:
        return value[int(index) :][:1] if int(index) >= -len(value) else []
    wanted = dict(condition.split("=", 1) for condition in index.split(","))
    return [item for item in value if all(str(item.get(k)) == v for k, v in wanted.items())]


def field(values: Any, path: str) -> Any:
    """What a record says at a path of keys, such as ``arrangement.processes``, or None."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
