"""The records under a folder: what commands measured of trained networks."""

import logging
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.schema import RESULT, checked_record, reason

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
        """Of the training: a measurement may have another one."""
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
    def at_chance(self) -> bool:
        """Whether the 95% interval of the top-1 error reaches that of guessing."""
        errors = self.values.get("errors") or {}
        crops = errors.get("ten") or errors.get("centre")
        chance = self.values.get("chance")
        if crops is None or not isinstance(chance, dict) or "top1" not in chance:
            return False
        return bool(max([crops["top1"], *crops.get("top1_interval", ())]) >= chance["top1"])

    @property
    def _network(self) -> Values:
        """The one network that was measured; empty for an ensemble."""
        return self.networks[0] if len(self.networks) == 1 else {}


RecordsBySeed = dict[int | None, Record]


def read_records(directory: Path) -> tuple[list[Record], dict[str, str]]:
    """Every record of trained networks under ``directory``, in the order of their paths.

    Other files are skipped. Second come damaged records and folders of runs without one, by their
    names, and why they are left out.

    Raises:
        UsageError: if there is no such folder.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: there is no such folder; train and evaluate write one")
    records, left_out = [], dict[str, str]()
    for path in sorted(directory.rglob("*.json")):
        name = path.relative_to(directory).as_posix()
        try:
            if (record := read_record(path, name)) is not None:
                records.append(record)
            elif why := _unfinished(path):
                left_out[path.parent.relative_to(directory).as_posix()] = why
        except (OSError, ValueError) as error:
            left_out[name] = reason(error)
    for name, why in left_out.items():
        log.warning("%s is left out: %s", name, why)
    return records, left_out


def read_record(path: Path, name: str) -> Record | None:
    """The record in a file; None if it holds something else.

    Raises:
        OSError, ValueError: if it cannot be read, or is not as it should be; see :func:`reason`.
    """
    values = from_json(path.read_bytes())
    if path.name != RESULT and not _of_networks(values):
        return None
    return Record(name, path.stem, checked_record(values))


def _of_networks(values: Any) -> bool:
    named = isinstance(values, dict) and {"format", "command", "date"} <= values.keys()
    return named and bool(values.get("checkpoints") or values.get("network"))


def _unfinished(path: Path) -> str | None:
    """Why a run has no record: of a job of a sweep, its error."""
    job = path.with_name("job.json")
    if path.name not in ("run.json", job.name) or path.with_name(RESULT).exists():
        return None
    if path != job:
        # The row of a sweep says more.
        return None if job.exists() else "no result: it failed, was interrupted or is running"
    row = from_json(job.read_bytes())
    status = row.get("status") if isinstance(row, dict) else None
    if status not in ("failed", "pruned"):
        return None
    return " ".join(str(row.get("error") or status).split())


def newest_by_seed(records: Iterable[Record]) -> RecordsBySeed:
    """One record for each seed, in their order; of several the newest."""
    found = {record.seed: record for record in sorted(records, key=lambda record: record.date)}
    return dict(sorted(found.items(), key=lambda item: str(item[0])))


def arguments(network: Values) -> dict[str, str]:
    """The arguments of a training by key; of a later measurement, the name of the run.

    The name is ``small+ablation_tanh`` for ``experiment=[small,ablation_tanh]``, unless the user
    gave the run another one.
    """
    if "command" not in network:
        return {"experiment": str(network.get("experiment") or "")}
    typed = (one.partition("=") for one in shlex.split(network["command"]))
    return {key.lstrip("+"): value for key, equals, value in typed if equals}


def names(value: str | None) -> list[str]:
    """``[small,ablation_tanh]`` or ``small+ablation_tanh`` in its parts."""
    return re.findall(r"\w+", value or "")


def ensemble(experiments: Iterable[str]) -> str:
    """``alexnet`` for one network; ``5 alexnet + 2 finetune`` for an ensemble."""
    counts = Counter(experiments)
    if counts.total() == 1:
        return next(iter(counts))
    return " + ".join(f"{count} {name}" for name, count in sorted(counts.items()))
