"""The paper's claims: which records test each, and what follows."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from pydantic import Field

from alexnet_repro.base.build import Natural, Positive, checked, did_you_mean
from alexnet_repro.base.config import CONF
from alexnet_repro.base.errors import UsageError
from alexnet_repro.results.conditions import Experiments, Settings
from alexnet_repro.results.intervals import Mean, difference, mean, ratio
from alexnet_repro.results.measures import IN_POINTS, MEASURES, by_seed, measured
from alexnet_repro.results.records import Record, RecordsBySeed, ensemble, newest_by_seed

CONFIRMED, UNRESOLVED, OPPOSITE = "confirmed", "not resolved", "opposite"
DIFFERS, NO_VERDICT, NOT_MEASURED = "differs", "no verdict", "not measured"
"""What was found; an error, which has no direction, differs from the paper's."""
PAPERS_DATA, OTHER_SETTINGS = "the paper’s data", "other settings"
OTHER_PHOTOGRAPHS = "other photographs"
"""Where it was found."""

HARMLESS = {"trainer.precision", "fp32_precision"}
"""Settings that are listed, but do not count as different from the paper's."""
SHARED = ("measure", "of", "minus", "over", "expected", "within", "at_most")
"""Keys of figures that may stand in their claim."""


@dataclass(frozen=True)
class Figure:
    """A figure of a claim: a measure of some experiment, or what it is more than in another.

    The keys are explained in ``conf/claims.yaml``.
    """

    name: str
    measure: Literal[tuple(MEASURES)]  # type: ignore[valid-type]
    of: str | None = None
    minus: str | None = None
    over: str | None = None
    paper: float | None = None
    expected: Literal["lower", "higher"] | None = None
    within: Positive | None = None
    at_most: float | None = None
    digits: Natural = 1

    @property
    def in_points(self) -> bool:
        """Whether it is a difference of errors, or an error to be compared with the paper's."""
        return MEASURES[self.measure] in IN_POINTS and self.over is None


@dataclass(frozen=True)
class Claim:
    """An entry of ``conf/claims.yaml``.

    With ``same_machine`` only runs on equal processors and GPUs are compared.
    """

    section: str
    title: str
    text: str
    paper: str
    dataset: str
    figures: Annotated[list[Figure], Field(min_length=1)]
    commands: Annotated[list[str], Field(min_length=1)]
    split: str | None = None
    note: str | None = None
    picture: str | None = None
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
    """One figure of a claim in one group of records.

    Attributes:
        of, others: its values, and those of what it is compared with.
        records: of these, in their order.
    """

    figure: Figure
    mean: Mean
    of: tuple[float, ...]
    others: tuple[float, ...]
    records: tuple[Record, ...]


@dataclass(frozen=True)
class Verdict:
    """What was found of a figure, and, unless it is confirmed, why it is no more.

    Of an effect that was not resolved, ``least`` is the smallest that would have been.
    """

    what: str
    why: str = ""
    least: str = ""


@dataclass(frozen=True)
class Finding:
    """A claim, the group of records that tests it best, and what follows for each figure."""

    claim: Claim
    group: Group | None = None
    where: str = ""
    measured: tuple[Measured, ...] = ()
    verdicts: tuple[Verdict, ...] = ()

    @property
    def what(self) -> str:
        """The verdicts on the figures together."""
        found = {verdict.what for verdict in self.verdicts} - {NO_VERDICT}
        if not found:
            return NO_VERDICT if self.verdicts else NOT_MEASURED
        for contrary in (OPPOSITE, DIFFERS):
            if contrary in found:
                return contrary
        every = len(self.verdicts) == len(self.claim.figures)
        return CONFIRMED if found == {CONFIRMED} and every else UNRESOLVED

    @property
    def records(self) -> list[Record]:
        """All that were compared, each once."""
        used = {record.name: record for m in self.measured for record in m.records}
        return list(used.values())


def counted(findings: Iterable[Finding]) -> list[tuple[str, int]]:
    """How many claims have each verdict, in the order of the verdicts."""
    counts = Counter(finding.what for finding in findings)
    order = (CONFIRMED, OPPOSITE, DIFFERS, UNRESOLVED, NO_VERDICT, NOT_MEASURED)
    return [(what, counts[what]) for what in order if counts[what]]


def read_claims(names: Sequence[str] = ()) -> dict[str, Claim]:
    """The claims of ``conf/claims.yaml`` by name: these, or all.

    Raises:
        UsageError: if there is none of that name, or it is not valid.
    """
    entries: Any = OmegaConf.to_container(OmegaConf.load(CONF / "claims.yaml"))
    for name in names:
        if name not in entries:
            similar = did_you_mean(name, entries) or f"; there are {', '.join(sorted(entries))}"
            raise UsageError(f"claims: there is no claim {name}{similar}")
    return {name: _claim(name, entries[name]) for name in names or entries}


def _claim(name: str, entry: dict[str, Any]) -> Claim:
    shared = {key: entry.pop(key) for key in SHARED if key in entry}
    figures = [
        Figure(**checked(Figure, shared | figure, f"claims.{name}.figures.{number}"))
        for number, figure in enumerate(entry.get("figures", ()))
    ]
    claim = Claim(**checked(Claim, entry | {"figures": figures}, f"claims.{name}"))
    for figure in figures:
        if [figure.expected, figure.within, figure.at_most].count(None) != 2:
            raise UsageError(f"claims.{name}: {figure.name}: one of expected, within, at_most")
    data = f"data=prepared data.directory=STORE data.name={claim.dataset}"
    commands = [f"python -m alexnet_repro.{one.format(data=data)}" for one in claim.commands]
    return replace(claim, commands=commands)


@dataclass(frozen=True)
class Run:
    """A record and its experiment: ``alexnet``, ``5 alexnet + 2 finetune``, None if unknown."""

    record: Record
    experiment: str | None
    group: Group


class Archive:
    """The records of a folder, with the experiment and the group of each."""

    def __init__(self, records: Sequence[Record], experiments: Experiments) -> None:
        self.experiments = experiments
        self.runs = [self._run(record) for record in records]

    def _run(self, record: Record) -> Run:
        known = [n for n in record.networks if (n.get("config") or {}).get("model")]
        if len(known) < len(record.networks):
            return Run(record, None, Group(record.dataset, record.split, ()))
        trained_as = [self.experiments.experiment(network) for network in known]
        # Of an ensemble, the settings of the network that is least like the paper's.
        settings = max(map(self.experiments.conditions, known, trained_as), key=len)
        group = Group(record.dataset, record.split, tuple(settings.items()))
        return Run(record, ensemble(trained_as), group)

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

    def find(self, claim: Claim) -> Finding:
        """What follows for a claim from the group of records that tests it best.

        It has the paper's data and settings if there are such records; else networks that may be
        compared, and most of them or the ones most like the paper's.
        """
        by_figure = [self.measure(figure, claim.same_machine) for figure in claim.figures]
        groups = {group for figure in by_figure for group in figure}
        effect = any(figure.expected for figure in claim.figures)

        def on_dataset(group: Group) -> bool:
            return group.dataset == claim.dataset and claim.split in (None, group.split)

        def rank(group: Group) -> tuple[Any, ...]:
            own = [figure[group] for figure in by_figure if group in figure]
            newest = max(record.date for m in own for record in m.records)
            decided = not any(objection for m in own for objection in _objections(m))
            unlike, seeds = len(group.unlike_the_paper), min(len(m.mean.values) for m in own)
            # Of an effect more seeds see more; an error is that of the network most like it.
            like = (seeds, -unlike) if effect else (-unlike, seeds)
            whole = on_dataset(group), len(own), on_dataset(group) and not unlike
            return *whole, decided, *like, newest, str(group)

        if not groups:
            return Finding(claim)
        best = max(groups, key=rank)
        found = tuple(figure[best] for figure in by_figure if best in figure)
        where = OTHER_SETTINGS if best.unlike_the_paper else PAPERS_DATA
        where = where if on_dataset(best) else OTHER_PHOTOGRAPHS
        verdicts = tuple(verdict_of(one, where) for one in found)
        return Finding(claim, best, where, found, verdicts)


def verdict_of(measured: Measured, where: str) -> Verdict:
    """What follows of a figure.

    An effect is confirmed, or opposite, if its 95% interval leaves out 0 (of a ratio: 1). An error
    agrees with the paper's if it is as close to it as the claim says, and differs if its interval,
    or with one seed it itself, is not. Of networks that cannot be compared nothing follows.
    """
    figure, found = measured.figure, measured.mean
    if objection := next(_objections(measured), None):
        return Verdict(NO_VERDICT, objection)
    if figure.at_most is not None:
        held, runs = sum(value <= figure.at_most for value in found.values), len(found.values)
        # One run cannot show what every run does.
        if runs == 1:
            return Verdict(UNRESOLVED, "one run")
        return Verdict(CONFIRMED if held == runs else UNRESOLVED, f"{held} of {runs} runs")
    if figure.expected is None:
        if where == OTHER_PHOTOGRAPHS:
            return Verdict(NO_VERDICT, "errors on other photographs are not comparable")
        return _close(figure, found)
    if found.interval is None:
        return Verdict(UNRESOLVED, "one seed" if found.paired else "no seed in common")
    nothing = 1 if figure.over else 0
    low, high = (bound - nothing for bound in found.interval)
    if low <= 0 <= high:
        least = f"{found.detectable or 0:.{2 if figure.over else figure.digits}f}"
        return Verdict(UNRESOLVED, least=f"±{least}" if figure.over else f"{least} points")
    return Verdict(CONFIRMED if (high < 0) == (figure.expected == "lower") else OPPOSITE)


def _close(figure: Figure, found: Mean) -> Verdict:
    distance = found - (figure.paper or 0)
    low, high = distance.interval or (distance.value, distance.value)
    within = figure.within or math.inf
    if low > within or high < -within:
        return Verdict(DIFFERS, f"more than {within:g} from the paper")
    return Verdict(CONFIRMED if abs(distance.value) <= within else UNRESOLVED)


def _objections(measured: Measured) -> Iterator[str]:
    """Why nothing follows of a comparison."""
    records = measured.records
    if stuck := sum(record.at_chance for record in records):
        yield f"{stuck} of {len(records)} networks stayed at chance"
    if measured.others and len(set(map(_images, records))) > 1:
        yield "the networks had unequal data"


def _images(record: Record) -> str:
    dataset = record.values.get("dataset") or {}
    return str([dataset.get("classes"), dataset.get("images")])
