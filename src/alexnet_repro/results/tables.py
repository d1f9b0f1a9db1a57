"""The tables of the claims report, as text: every format shows the same cells."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from string import ascii_uppercase

from alexnet_repro.results.claims import (
    NOT_MEASURED,
    OTHER_DATASET,
    OTHER_SETTINGS,
    Archive,
    Finding,
    Group,
    Measured,
)
from alexnet_repro.results.conditions import BASELINE
from alexnet_repro.results.intervals import Mean, difference
from alexnet_repro.results.measures import by_seed
from alexnet_repro.results.records import Record, RecordsBySeed, newest_by_seed

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        name: of its file, and its anchor on the page.
        title: above it.
        columns: their heads.
        rows: as many cells each. A cell of several lines has newlines.
        notes: below it.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def number(value: float, digits: int = 1, sign: bool = False) -> str:
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def with_interval(found: Mean, digits: int = 1, sign: bool = True) -> str:
    """``−1.4 (−1.9 to −0.9)``; one seed has no interval, and that is said."""
    text = number(found.value, digits, sign)
    if found.interval is None:
        return f"{text} (one seed)" if found.paired else f"{text} (no seed in common)"
    low, high = (number(bound, digits, sign) for bound in found.interval)
    return f"{text} ({low} to {high}{'' if found.paired else ', unpaired'})"


class Legend:
    """Letters for settings that differ from the paper's, so that a cell can name them."""

    def __init__(self, groups: Iterable[Group]) -> None:
        texts = sorted({_described(group) for group in groups} - {""})
        letters = map("".join, (*product(ascii_uppercase), *product(ascii_uppercase, repeat=2)))
        self._letters = dict(zip(texts, letters, strict=False))

    def of(self, group: Group) -> str:
        """``imagenette-224 val, settings A``."""
        place = f"{group.dataset or 'data not named'} {group.split}".strip()
        letter = self._letters.get(_described(group))
        return f"{place}, settings {letter}" if letter else place

    def table(self) -> Table:
        return Table(
            "settings",
            "Settings other than the paper’s",
            ("Settings", "What differs, beside what the experiment changes"),
            tuple((letter, text) for text, letter in self._letters.items()),
        )


def _described(group: Group) -> str:
    texts = (
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in group.unlike_the_paper.items()
    )
    return ", ".join(texts)


CLAIM_COLUMNS = ("Claim", "Paper", "Measured", "Difference (95 % interval)", "Dataset")


def claims_table(findings: Sequence[Finding], legend: Legend) -> Table:
    """A row for each claim: paper, measured, difference, dataset, runs behind it, verdict."""
    return Table(
        "claims",
        "The paper’s claims",
        (*CLAIM_COLUMNS, "Runs behind it", "Verdict"),
        tuple(_claim_row(finding, legend) for finding in findings),
        tuple(f"{f.id}: {f.claim.note.strip()}" for f in findings if f.claim.note),
    )


def short_table(claims: Table) -> Table:
    """A row for each claim that was measured, and how many were not."""
    rows = [(*row[:5], row[6]) for row in claims.rows if row[6] != NOT_MEASURED]
    missing, of = len(claims.rows) - len(rows), len(claims.rows)
    return Table(
        "short",
        "What was measured",
        (*CLAIM_COLUMNS, "Verdict"),
        tuple(rows),
        (f"{missing} of the {of} claims are not measured yet.",) if missing else (),
    )


def _claim_row(finding: Finding, legend: Legend) -> tuple[str, ...]:
    claim = finding.claim
    head = (f"{claim.text} ({claim.section})", claim.paper)
    if finding.group is None:
        commands = "\n".join(claim.commands)
        return (*head, NOTHING, NOTHING, claim.dataset, commands, NOT_MEASURED)
    runs = dict.fromkeys(record.name for m in finding.measured for record in m.records)
    return (
        *head,
        "\n".join(_measured_text(m) for m in finding.measured),
        "\n".join(_difference_text(m, finding.verdict) for m in finding.measured),
        legend.of(finding.group),
        "\n".join(runs),
        finding.verdict,
    )


def _measured_text(measured: Measured) -> str:
    figure = measured.figure
    text = number(fmean(measured.of), figure.digits, sign=figure.effect)
    against = f" against {number(fmean(measured.others), figure.digits)}" if measured.others else ""
    return f"{figure.name}: {text}{against}"


def _difference_text(measured: Measured, verdict: str) -> str:
    """Of a comparison, between the two; of a figure by itself, from the paper's for equal data."""
    figure, found = measured.figure, measured.mean
    if figure.over:
        return f"× {with_interval(found, 2, sign=False)}"
    if figure.minus or figure.effect:
        return with_interval(found, figure.digits)
    if figure.paper is None or verdict == OTHER_DATASET:
        return NOTHING
    return f"{with_interval(found - figure.paper, figure.digits)} from the paper"


TABLE_1 = (
    ("Sparse coding", "47.1", "28.2", None),
    ("SIFT + FVs", "45.7", "25.7", None),
    ("CNN", "37.5", "17.0", "table_1"),
)
TABLE_2 = (
    ("SIFT + FVs", NOTHING, NOTHING, "26.2", None),
    ("1 CNN", "40.7", "18.2", NOTHING, "table_2_one"),
    ("5 CNNs", "38.1", "16.4", "16.4", "table_2_five"),
    ("1 CNN*", "39.0", "16.6", NOTHING, "table_2_pretrained"),
    ("7 CNNs*", "36.7", "15.4", "15.3", "table_2_seven"),
)
"""The rows of the paper's tables, each with the claim that is measured here."""


def papers_tables(findings: Mapping[str, Finding]) -> tuple[Table, Table]:
    """Tables 1 and 2 of the paper with this project's figures beside them."""
    columns = ("Paper, top-1 (val)", "Paper, top-5 (val)", "Paper, top-5 (test)")
    return Table(
        "table1",
        "Table 1: error (%) on the test set of ILSVRC-2010",
        ("Model", "Paper, top-1", "Paper, top-5", "Here, top-1", "Here, top-5"),
        tuple((*cells, *_beside(findings, claim)) for *cells, claim in TABLE_1),
        ("Sparse coding and SIFT + FVs are the results of others that the paper compares with.",),
    ), Table(
        "table2",
        "Table 2: error (%) on ILSVRC-2012",
        ("Model", *columns, "Here, top-1 (val)", "Here, top-5 (val)"),
        tuple((*cells, *_beside(findings, claim)) for *cells, claim in TABLE_2),
        (
            "* pre-trained on the Fall 2011 release; 7 CNNs* are five CNNs and two CNN*.",
            "The test labels of ILSVRC-2012 are not public: its test column is the paper's only.",
        ),
    )


def _beside(findings: Mapping[str, Finding], claim: str | None) -> tuple[str, str]:
    if claim is None or claim not in findings:
        return NOTHING, NOTHING
    finding = findings[claim]
    if finding.verdict in (NOT_MEASURED, OTHER_DATASET):
        return NOT_MEASURED, NOT_MEASURED
    mark = " (other settings)" if finding.verdict == OTHER_SETTINGS else ""
    cells = {m.figure.name: number(m.mean.value) + mark for m in finding.measured}
    return cells.get("top-1", NOTHING), cells.get("top-5", NOTHING)


def trained_groups(archive: Archive) -> dict[Group, dict[str, RecordsBySeed]]:
    """The records of training runs by group, experiment and seed."""
    found: dict[Group, dict[str, list[Record]]] = {}
    for run in archive.runs:
        if run.record.kind == "result" and run.experiment is not None:
            found.setdefault(run.group, {}).setdefault(run.experiment, []).append(run.record)
    paper = archive.experiments.paper

    def whole(group: Group) -> tuple[str, str, str]:
        return group.dataset, group.split, str(sorted((paper | dict(group.settings)).items()))

    return {
        group: {name: newest_by_seed(records) for name, records in found[group].items()}
        for group in sorted(found, key=whole)
    }


def ablation_table(archive: Archive, legend: Legend) -> Table:
    """Every experiment beside what it changes, under equal settings: errors and differences.

    That is the baseline, or the experiment that it is built on.
    """
    rows, done = [], set()
    for group, experiments in trained_groups(archive).items():
        for name in sorted(experiments, key=lambda name: (name != BASELINE, name)):
            cells = _ablation_cells(name, experiments, archive.experiments.parents)
            rows.append((legend.of(group), name, *cells))
            done.add(name)
    missing = [name for name in archive.experiments.names if name not in done]
    tops = ("Top-1", "Top-5")
    return Table(
        "ablations",
        "Experiments against the baseline: error (%), ten crops",
        (
            *("Dataset", "Experiment", "Seeds", *tops),
            *(f"{top}, difference (95 % interval)" for top in tops),
        ),
        tuple(rows),
        (f"Without a run: {', '.join(missing)}.",) if missing else (),
    )


def _ablation_cells(
    name: str, experiments: Mapping[str, RecordsBySeed], parents: Mapping[str, str]
) -> tuple[str, ...]:
    own, parent = experiments[name], parents.get(name, BASELINE)
    baseline = experiments.get(parent, {}) if name != BASELINE else {}
    errors, differences = [], []
    for measure in ("ten_crop_top1", "ten_crop_top5"):
        values, others = by_seed(own, measure), by_seed(baseline, measure)
        errors.append(number(fmean(values.values())) if values else NOTHING)
        if values and others:
            found = difference(values, others)
            against = "" if parent == BASELINE else f" against {parent}"
            pairs = len(found.values)
            some = f" of {pairs} pairs" if found.paired and pairs < len(values) else ""
            differences.append(f"{with_interval(found)}{some}{against}")
        elif name == BASELINE or name in parents.values():
            differences.append("baseline")
        else:
            differences.append("no baseline with these settings")
    return (", ".join(map(str, own)), *errors, *differences)


def records_table(archive: Archive) -> Table:
    """Where every figure comes from."""
    rows = (
        (
            run.record.name,
            run.experiment or str(run.record.values.get("experiment") or NOTHING),
            NOTHING if run.record.seed is None else str(run.record.seed),
            run.record.date[:10],
            str(run.record.values.get("commit") or NOTHING)[:10],
            next(filter(None, reversed(run.record.machine)), NOTHING),
            run.record.values["command"],
        )
        for run in archive.runs
    )
    columns = ("Record", "Experiment", "Seed", "Date", "Commit", "Machine", "Command")
    return Table("records", "The records", columns, tuple(rows))
