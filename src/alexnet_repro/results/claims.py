"""The paper's claims: which records speak of each, and what they say."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from pydantic import ValidationError

from alexnet_repro.config import CONF
from alexnet_repro.errors import UsageError
from alexnet_repro.results.conditions import Experiments, Settings
from alexnet_repro.results.intervals import Mean, difference, mean, ratio
from alexnet_repro.results.records import Record, field, quantity
from alexnet_repro.schema.report import ClaimSchema, FigureSchema, SelectorSchema

AGREES, DISAGREES, UNDECIDED = "agrees", "disagrees", "undecided"
NOT_MEASURED = "not measured"
OTHER_DATASET = "measured on another dataset"
OTHER_SETTINGS = "measured with other settings"

HARMLESS = {"trainer.precision"}
"""Settings that are told, but do not make a measurement another one than the paper's."""


@dataclass(frozen=True)
class Group:
    """Records that may be compared: equal in all but the experiment and the seed."""

    dataset: str
    split: str
    conditions: tuple[tuple[str, Any], ...]
    same: tuple[str, ...]

    @property
    def settings(self) -> Settings:
        return dict(self.conditions)


@dataclass(frozen=True)
class Measured:
    """One figure of a claim in one group of records; ``others`` is what it is compared with."""

    figure: FigureSchema
    mean: Mean
    of: tuple[float, ...]
    others: tuple[float, ...]
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Finding:
    """A claim, the group of records that speaks of it best, and what follows."""

    id: str
    claim: ClaimSchema
    group: Group | None
    measured: tuple[Measured, ...]
    verdict: str


def read_claims(names: Sequence[str]) -> dict[str, ClaimSchema]:
    """The claims of ``conf/claim`` by name.

    Raises:
        UsageError: if there is none of that name, or it is not valid.
    """
    claims = {}
    for name in names:
        path = CONF / "claim" / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
            raise UsageError(f"claims: there is no claim {name}; there are {known}")
        try:
            claims[name] = ClaimSchema.model_validate(OmegaConf.to_container(OmegaConf.load(path)))
        except ValidationError as error:
            wrong = error.errors()[0]
            key = ".".join(map(str, wrong["loc"]))
            raise UsageError(f"{path}: {key}: {wrong['msg']}") from error
    return claims


class Archive:
    """The records of a folder, with the experiment and the group of each."""

    def __init__(self, records: Sequence[Record], experiments: Experiments) -> None:
        self.records, self.experiments = records, experiments
        self.roles = [self._role(record) for record in records]

    def _role(self, record: Record) -> str | None:
        """The experiment that a network is, or those of an ensemble: ``5 alexnet + 2 finetune``."""
        roles = Counter(self.experiments.role(config) for config in record.configs)
        if sum(roles.values()) < 2:
            return next(iter(roles), None)
        return " + ".join(f"{count} {role}" for role, count in sorted(roles.items()))

    def group(self, record: Record, same: Sequence[str] = ()) -> Group:
        """What has to be equal for a comparison; also what ``same`` names, such as machine.gpu."""
        # Of an ensemble, those of the network that is least like the paper's.
        of_networks = [self.experiments.conditions(config) for config in record.configs]
        conditions = max(
            of_networks, key=lambda one: len(self.experiments.other_settings(one)), default={}
        )
        equal = tuple(str(field(record.values, path)) for path in same)
        return Group(record.dataset, record.split, tuple(sorted(conditions.items())), equal)

    def select(
        self, selector: SelectorSchema, same: Sequence[str] = ()
    ) -> dict[Group, dict[int | None, Record]]:
        """The records that a selector means, by group and seed; of equals the newest."""
        found: dict[Group, dict[int | None, Record]] = {}
        for record, role in zip(self.records, self.roles, strict=True):
            if (
                record.kind in selector.kinds
                and selector.experiment in (None, role)
                and all(_is(field(record.values, k), v) for k, v in selector.where.items())
            ):
                by_seed = found.setdefault(self.group(record, same), {})
                before = by_seed.get(record.seed)
                if before is None or before.values["date"] <= record.values["date"]:
                    by_seed[record.seed] = record
        return found

    def measure(self, figure: FigureSchema, same: Sequence[str] = ()) -> dict[Group, Measured]:
        """A figure in every group that has the records for it."""
        assert figure.of is not None
        compared = figure.minus or figure.over
        others = self.select(compared, same) if compared else {}
        measured = {}
        for group, records in self.select(figure.of, same).items():
            a = _values(records, figure.quantity)
            b = _values(others.get(group, {}), figure.quantity)
            if not a or (compared and not b):
                continue
            if compared is None:
                result = mean(list(a.values()))
            elif figure.minus:
                result = difference(a, b)
            else:
                result = ratio(a, b)
            used = [records[s] for s in a] + [others[group][s] for s in b if compared]
            measured[group] = Measured(
                figure, result, tuple(a.values()), tuple(b.values()), tuple(used)
            )
        return measured

    def find(self, name: str, claim: ClaimSchema) -> Finding:
        """What the group of records that is most like the paper's measurement says of a claim."""
        by_figure = [self.measure(figure, claim.same) for figure in claim.figures]
        groups = {group for figure in by_figure for group in figure}

        def rank(group: Group) -> tuple[Any, ...]:
            own = [figure[group] for figure in by_figure if group in figure]
            newest = max(record.values["date"] for m in own for record in m.records)
            unlike, seeds = len(self.unlike_the_paper(group)), min(len(m.mean.values) for m in own)
            return self._on_dataset(group, claim), len(own), -unlike, seeds, newest, str(group)

        if not groups:
            return Finding(name, claim, None, (), NOT_MEASURED)
        best = max(groups, key=rank)
        measured = tuple(figure[best] for figure in by_figure if best in figure)
        if not self._on_dataset(best, claim):
            verdict = OTHER_DATASET
        elif self.unlike_the_paper(best):
            verdict = OTHER_SETTINGS
        else:
            verdict = _together([verdict_of(m) for m in measured], len(claim.figures))
        return Finding(name, claim, best, measured, verdict)

    def _on_dataset(self, group: Group, claim: ClaimSchema) -> bool:
        return group.dataset == claim.dataset and claim.split in (None, group.split)

    def unlike_the_paper(self, group: Group) -> Settings:
        """The settings of a group that make it another measurement than the paper's."""
        if not group.conditions:
            return {}
        other = self.experiments.other_settings(group.settings)
        return {key: value for key, value in other.items() if key not in HARMLESS}


def verdict_of(measured: Measured) -> str:
    """Whether a figure agrees with the paper.

    It agrees if it lies in the range that the claim names, and, where an effect is claimed, its
    interval leaves 0 (of a ratio: 1) out. It disagrees if its interval, or with one seed the figure
    itself, lies outside the range. Otherwise more seeds have to decide.
    """
    figure, found = measured.figure, measured.mean
    low = -math.inf if figure.agrees[0] is None else figure.agrees[0]
    high = math.inf if figure.agrees[1] is None else figure.agrees[1]
    if figure.every:
        return AGREES if all(low <= value <= high for value in found.values) else DISAGREES
    bottom, top = found.interval or (found.value, found.value)
    if top < low or bottom > high:
        return DISAGREES
    nothing = 1 if figure.over else 0
    is_effect = figure.is_difference or figure.over is not None
    clear = found.interval is None or not is_effect or not bottom <= nothing <= top
    return AGREES if low <= found.value <= high and clear else UNDECIDED


def _together(verdicts: Sequence[str], figures: int) -> str:
    if DISAGREES in verdicts:
        return DISAGREES
    return AGREES if verdicts == [AGREES] * figures else UNDECIDED


def _is(value: Any, wanted: Any) -> bool:
    return value is not None if wanted == "any" else bool(value == wanted)


def _values(records: Mapping[int | None, Record], expression: str) -> dict[int | None, float]:
    found = {seed: quantity(record.values, expression) for seed, record in records.items()}
    return {seed: value for seed, value in found.items() if value is not None}
