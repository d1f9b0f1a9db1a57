"""The records under a folder: what commands measured of trained networks."""

import json
import logging
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_repro.base.errors import UsageError

log = logging.getLogger(__name__)

Values = Mapping[str, Any]


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
    values: Values

    @property
    def networks(self) -> list[Values]:
        """What was measured: of a training run its record, else what is said of each network."""
        if self.kind == "result":
            return [self.values]
        return self.values.get("checkpoints") or [self.values.get("network") or {}]

    @property
    def dataset(self) -> str:
        named = self.values.get("dataset") or {"name": self._network.get("data", "")}
        return str(named.get("name", ""))

    @property
    def split(self) -> str:
        return str(self.values.get("split") or (self.values.get("dataset") or {}).get("split", ""))

    @property
    def seed(self) -> int | None:
        """Of the training; what measures a network may have a seed of its own."""
        seed: int | None = self._network.get("seed", self.values.get("seed"))
        return seed

    @property
    def date(self) -> str:
        return str(self.values["date"])

    @property
    def machine(self) -> tuple[str | None, str | None]:
        """Processor and GPU."""
        machine = self.values.get("machine") or {}
        return machine.get("processor"), machine.get("gpu")

    @property
    def _network(self) -> Values:
        """The one network that was measured; empty for an ensemble."""
        return self.networks[0] if len(self.networks) == 1 else {}


RecordsBySeed = dict[int | None, Record]


def read_records(directory: Path) -> list[Record]:
    """Every record of trained networks under ``directory``, in the order of their paths.

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
            record = Record(path.relative_to(directory).as_posix(), path.stem, values)
            if any(record.networks):
                records.append(record)
    return records


def newest_by_seed(records: Iterable[Record]) -> RecordsBySeed:
    """One record for each seed, in their order; of several the newest."""
    found = {record.seed: record for record in sorted(records, key=lambda record: record.date)}
    return dict(sorted(found.items(), key=lambda item: str(item[0])))


def arguments(network: Values) -> dict[str, str]:
    """What a training was told by key: its arguments, or, of what measures it, its name.

    The name is ``small+ablation_tanh`` for ``experiment=[small,ablation_tanh]``, if the user did
    not give the run another one.
    """
    if "command" not in network:
        return {"experiment": str(network.get("experiment") or "")}
    typed = (one.partition("=") for one in shlex.split(network["command"]))
    return {key.lstrip("+"): value for key, equals, value in typed if equals}


def names(value: str | None) -> list[str]:
    """``[small,ablation_tanh]`` or ``small+ablation_tanh`` in its parts."""
    return re.findall(r"\w+", value or "")
