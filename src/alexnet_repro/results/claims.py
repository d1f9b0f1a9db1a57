"""The paper's claims: which records speak of each, and what they say."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from omegaconf import OmegaConf
from pydantic import Field

from alexnet_repro.base.build import Natural, checked
from alexnet_repro.base.config import CONF
from alexnet_repro.base.errors import UsageError
from alexnet_repro.results.conditions import Experiments, Settings
from alexnet_repro.results.intervals import Mean, difference, mean, ratio
from alexnet_repro.results.measures import Measure, by_seed, measured
from alexnet_repro.results.records import Record, RecordsBySeed, newest_by_seed

AGREES, DISAGREES, UNDECIDED = "agrees", "disagrees", "undecided"
NOT_MEASURED = "not measured"
OTHER_DATASET = "measured on another dataset"
OTHER_SETTINGS = "measured with other settings"

HARMLESS = {"trainer.precision", "fp32_precision"}
"""Settings that are told, but do not make a measurement another one than the paper's."""


@dataclass(frozen=True)
class Figure:
    """A figure of a claim: a measure of some experiment, or what it is more than in another.

    ``measure`` is a function of ``results/measures.py``; ``of`` an experiment, an ensemble such as
    ``5 alexnet + 2 finetune``, or null for any network. ``agrees`` are the lowest and the highest
    value that agree with the paper, null for no bound. An ``effect`` has an interval that leaves 0
    out before it agrees; comparisons always are one. With ``every`` each run has to agree, not
    their mean.
    """

    name: str
    measure: Measure
    agrees: Annotated[list[float | None], Field(min_length=2, max_length=2)]
    of: str | None = None
    minus: str | None = None
    over: str | None = None
    paper: float | None = None
    digits: Natural = 1
    effect: bool = False
    every: bool = False


@dataclass(frozen=True)
class Claim:
    """A file of ``conf/claim``, in which ``of``, ``minus`` and ``over`` may be for all figures.

    With ``same_machine`` only runs on equal processors and GPUs are compared.
    """

    section: str
    text: str
    paper: str
    dataset: str
    figures: Annotated[list[Figure], Field(min_length=1)]
    commands: Annotated[list[str], Field(min_length=1)]
    split: str | None = None
    note: str | None = None
    same_machine: bool = False


@dataclass(frozen=True)
class Group:
    """Records that may be compared: equal in all but the experiment and the seed.

    Attributes:
        settings: where they differ from the paper's.
        machine: processor and GPU, where they have to be equal.
    """

    dataset: str
    split: str
    settings: tuple[tuple[str, Any], ...]
    machine: tuple[str | None, str | None] | None = None

    @property
    def unlike_the_paper(self) -> Settings:
        """What makes it another measurement than the paper's."""
        return {key: value for key, value in self.settings if key not in HARMLESS}


@dataclass(frozen=True)
class Measured:
    """One figure of a claim in one group of records; ``others`` is what it is compared with."""

    figure: Figure
    mean: Mean
    of: tuple[float, ...]
    others: tuple[float, ...]
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Finding:
    """A claim, the group of records that speaks of it best, and what follows."""

    id: str
    claim: Claim
    group: Group | None
    measured: tuple[Measured, ...]
    verdict: str


def read_claims(names: Sequence[str]) -> dict[str, Claim]:
    """The claims of ``conf/claim`` by name.

    Raises:
        UsageError: if there is none of that name, or it is not valid.
    """
    return {name: _read(name) for name in names}


def _read(name: str) -> Claim:
    path = CONF / "claim" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise UsageError(f"claims: there is no claim {name}; there are {known}")
    values: Any = OmegaConf.to_container(OmegaConf.load(path))
    compared = {key: values.pop(key) for key in ("of", "minus", "over") if key in values}
    figures = [
        Figure(**checked(Figure, compared | figure, f"claim.{name}.figures.{number}"))
        for number, figure in enumerate(values.get("figures", ()))
    ]
    return Claim(**checked(Claim, values | {"figures": figures}, f"claim.{name}"))


@dataclass(frozen=True)
class Run:
    """A record, with what it is of: ``alexnet``, ``5 alexnet + 2 finetune``, None if unknown."""

    record: Record
    experiment: str | None
    group: Group


class Archive:
    """The records of a folder, with the experiment and the group of each."""

    def __init__(self, records: Sequence[Record], experiments: Experiments) -> None:
        self.experiments = experiments
        self.runs = [self._run(record) for record in records]

    def _run(self, record: Record) -> Run:
        known = [n for n in record.networks if "model" in (n.get("config") or {})]
        if len(known) < len(record.networks):
            return Run(record, None, Group(record.dataset, record.split, ()))
        trained_as = [self.experiments.experiment(network) for network in known]
        counts = sorted(Counter(trained_as).items())
        ensemble = " + ".join(f"{count} {experiment}" for experiment, count in counts)
        # Of an ensemble, the settings of the network that is least like the paper's.
        settings = max(map(self.experiments.conditions, known, trained_as), key=len)
        group = Group(record.dataset, record.split, tuple(settings.items()))
        return Run(record, ensemble if len(known) > 1 else trained_as[0], group)

    def select(
        self, experiment: str | None, measure: str, same_machine: bool = False
    ) -> dict[Group, RecordsBySeed]:
        """The records that have a figure of an experiment, by group and seed."""
        found: dict[Group, list[Record]] = {}
        for run in self.runs:
            if experiment in (None, run.experiment) and measured(run.record, measure) is not None:
                machine = run.record.machine if same_machine else None
                found.setdefault(replace(run.group, machine=machine), []).append(run.record)
        return {group: newest_by_seed(records) for group, records in found.items()}

    def measure(self, figure: Figure, same_machine: bool = False) -> dict[Group, Measured]:
        """A figure in every group that has the records for it."""
        other = figure.minus or figure.over
        compared = self.select(other, figure.measure, same_machine) if other else {}
        found = {}
        for group, records in self.select(figure.of, figure.measure, same_machine).items():
            others = compared.get(group, {})
            if other and not others:
                continue
            if pairs := records.keys() & others.keys():
                records, others = ({s: of[s] for s in of if s in pairs} for of in (records, others))
            a, b = by_seed(records, figure.measure), by_seed(others, figure.measure)
            compare = difference if figure.minus else ratio
            result = compare(a, b) if other else mean(list(a.values()))
            used = (*records.values(), *others.values())
            found[group] = Measured(figure, result, tuple(a.values()), tuple(b.values()), used)
        return found

    def find(self, name: str, claim: Claim) -> Finding:
        """What the group of records that is most like the paper's measurement says of a claim."""
        by_figure = [self.measure(figure, claim.same_machine) for figure in claim.figures]
        groups = {group for figure in by_figure for group in figure}

        def on_dataset(group: Group) -> bool:
            return group.dataset == claim.dataset and claim.split in (None, group.split)

        def rank(group: Group) -> tuple[Any, ...]:
            own = [figure[group] for figure in by_figure if group in figure]
            newest = max(record.date for m in own for record in m.records)
            unlike, seeds = len(group.unlike_the_paper), min(len(m.mean.values) for m in own)
            return on_dataset(group), len(own), -unlike, seeds, newest, str(group)

        if not groups:
            return Finding(name, claim, None, (), NOT_MEASURED)
        best = max(groups, key=rank)
        found = tuple(figure[best] for figure in by_figure if best in figure)
        if not on_dataset(best):
            verdict = OTHER_DATASET
        elif best.unlike_the_paper:
            verdict = OTHER_SETTINGS
        else:
            verdict = _together([verdict_of(m) for m in found], len(claim.figures))
        return Finding(name, claim, best, found, verdict)


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
    is_effect = figure.effect or figure.minus or figure.over
    nothing = 1 if figure.over else 0
    clear = found.interval is None or not is_effect or not bottom <= nothing <= top
    return AGREES if low <= found.value <= high and clear else UNDECIDED


def _together(verdicts: Sequence[str], figures: int) -> str:
    if DISAGREES in verdicts:
        return DISAGREES
    return AGREES if verdicts == [AGREES] * figures else UNDECIDED
