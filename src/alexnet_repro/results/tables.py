"""The tables of the claims report, as text: every format shows the same cells."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean
from string import ascii_uppercase

from alexnet_repro.base.console import printable
from alexnet_repro.results.claims import (
    NO_VERDICT,
    NOT_MEASURED,
    OTHER_PHOTOGRAPHS,
    OTHER_SETTINGS,
    Archive,
    Finding,
    Group,
    Measured,
    Verdict,
)
from alexnet_repro.results.conditions import BASELINE, Experiments
from alexnet_repro.results.intervals import Mean, difference
from alexnet_repro.results.measures import by_seed
from alexnet_repro.results.records import Record, RecordsBySeed, newest_by_seed

NOTHING = "–"
FORMULA = re.compile(r"[=+\-@]")
OWN_NUMBER = re.compile(r"\+[\d.]+ \([−+\d. ,a-z]*\)[\w ]*$", re.MULTILINE)
"""``+1.5 (+1.5 to +1.5)``, which is none."""


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

    def __post_init__(self) -> None:
        rows = tuple(tuple(printable(cell, keep="\n") for cell in row) for row in self.rows)
        object.__setattr__(self, "rows", rows)

    def markdown(self) -> str:
        lines = [f"## {self.title}", ""]
        lines.append("| " + " | ".join(map(_markdown, self.columns)) + " |")
        lines.append("|" + "---|" * len(self.columns))
        lines += ["| " + " | ".join(map(_markdown, row)) + " |" for row in self.rows]
        for note in self.notes:
            lines += ["", _markdown(note)]
        return "\n".join(lines) + "\n"

    def comma_separated(self) -> str:
        """As CSV; a cell that a spreadsheet would run begins with an apostrophe."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in self.rows:
            runs = (FORMULA.match(cell) and not OWN_NUMBER.match(cell) for cell in row)
            writer.writerow(
                "'" + cell if run else cell for cell, run in zip(row, runs, strict=True)
            )
        return text.getvalue()


def _markdown(cell: str) -> str:
    return "<br>".join(map(_markdown_line, cell.splitlines())) or " "


def _markdown_line(line: str) -> str:
    if line.startswith("python -m "):
        fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
        space = " " if line.endswith("`") else ""
        return f"{fence}{line}{space}{fence}".replace("|", "\\|")
    return re.sub(r"([\\|*_`\[\]])", r"\\\1", line).replace("<", "&lt;")


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
            ("Settings", "Differences from the paper, besides the experiment’s own"),
            tuple((letter, text) for text, letter in self._letters.items()),
        )


def _described(group: Group) -> str:
    texts = (
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in group.unlike_the_paper.items()
    )
    return ", ".join(texts)


MEASURED_COLUMNS = ("Claim", "Paper", "Measured", "Difference (95 % interval)", "Verdict", "Where")


def claims_table(findings: Sequence[Finding], legend: Legend) -> Table:
    """A row for each claim that was measured, with the runs behind it."""
    found = [finding for finding in findings if finding.group]
    missing = len(findings) - len(found)
    notes = tuple(f"{f.claim.title}: {f.claim.note.strip()}" for f in found if f.claim.note)
    if missing:
        notes += (f"{missing} of the {len(findings)} claims are not measured yet.",)
    return Table(
        "claims",
        "The paper’s claims",
        (*MEASURED_COLUMNS, "Records"),
        tuple(_claim_row(finding, legend) for finding in found),
        notes,
    )


def unmeasured_table(findings: Sequence[Finding]) -> Table:
    """The other claims, with the commands that would measure them."""
    return Table(
        "unmeasured",
        "Claims without a run",
        ("Claim", "Paper", "Dataset", "Command"),
        tuple(
            (_claim_text(f), f.claim.paper, f.claim.dataset, "\n".join(f.claim.commands))
            for f in findings
            if not f.group
        ),
    )


def short_table(claims: Table) -> Table:
    """The claims that were measured, without their runs."""
    rows = tuple(row[:-1] for row in claims.rows)
    return Table("short", "What was measured", MEASURED_COLUMNS, rows, claims.notes[-1:])


def _claim_text(finding: Finding) -> str:
    return f"{finding.claim.text} ({finding.claim.section})"


def _claim_row(finding: Finding, legend: Legend) -> tuple[str, ...]:
    assert finding.group is not None
    return (
        _claim_text(finding),
        finding.claim.paper,
        "\n".join(map(measured_text, finding.measured)),
        "\n".join(
            NOTHING if verdict.what == NO_VERDICT else difference_text(m)
            for m, verdict in zip(finding.measured, finding.verdicts, strict=True)
        ),
        verdict_text(finding.verdicts),
        f"{finding.where}: {legend.of(finding.group)}",
        "\n".join(record.name for record in finding.records),
    )


def verdict_text(verdicts: Sequence[Verdict]) -> str:
    """A line for each thing that was found, with the reasons of all figures."""
    lines = []
    for what in dict.fromkeys(verdict.what for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.what == what]
        reasons = list(dict.fromkeys(verdict.why for verdict in own if verdict.why))
        if least := " / ".join(verdict.least for verdict in own if verdict.least):
            reasons.append(f"smallest detectable effect {least} (80 % power)")
        lines.append(f"{what}: {'; '.join(reasons)}" if reasons else what)
    return "\n".join(lines)


def measured_text(measured: Measured) -> str:
    figure = measured.figure
    if figure.at_most is not None:
        return f"{figure.name}: {', '.join(number(x, figure.digits) for x in measured.of)}"
    effect = figure.expected is not None and not measured.others
    text = number(fmean(measured.of), figure.digits, sign=effect)
    against = f" against {number(fmean(measured.others), figure.digits)}" if measured.others else ""
    return f"{figure.name}: {text}{against}"


def difference_text(measured: Measured) -> str:
    """Between two sides of a comparison; of a single error, from the paper's."""
    figure, found = measured.figure, measured.mean
    if figure.over:
        return f"× {with_interval(found, 2, sign=False)}"
    if figure.expected:
        return with_interval(found, figure.digits)
    if figure.paper is None:
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
    if finding.where in ("", OTHER_PHOTOGRAPHS):
        return NOT_MEASURED, NOT_MEASURED
    mark = " (other settings)" if finding.where == OTHER_SETTINGS else ""
    cells = {m.figure.name: number(m.mean.value) + mark for m in finding.measured}
    return cells.get("top-1", NOTHING), cells.get("top-5", NOTHING)


Trained = dict[Group, dict[str, RecordsBySeed]]
"""The records of training runs by group, experiment and seed."""


def trained_groups(archive: Archive) -> Trained:
    found: dict[Group, dict[str, list[Record]]] = {}
    for run in archive.runs:
        if run.record.kind == "result" and run.experiment is not None:
            found.setdefault(run.group, {}).setdefault(run.experiment, []).append(run.record)
    paper = archive.experiments.paper

    def whole(group: Group) -> tuple[str, str, str]:
        return group.dataset, group.split, str(sorted((paper | dict(group.settings)).items()))

    return {
        group: {
            name: newest_by_seed(found[group][name])
            for name in sorted(found[group], key=lambda name: (name != BASELINE, name))
        }
        for group in sorted(found, key=whole)
    }


TOPS = ("Top-1", "Top-5")


def ablation_table(trained: Trained, experiments: Experiments, legend: Legend) -> Table:
    """Every experiment beside what it changes, under equal settings: errors and differences.

    That is the baseline, or the experiment that it is built on.
    """
    done = {name for named in trained.values() for name in named}
    missing = [n for n in experiments.names if n not in done and not n.startswith(LADDER)]
    return Table(
        "ablations",
        "Experiments against the baseline: error (%), ten crops",
        (
            *("Dataset", "Experiment", "Seeds", *TOPS),
            *(f"{top}, difference (95 % interval)" for top in TOPS),
        ),
        tuple(
            (legend.of(group), name, *_ablation_cells(name, named, experiments.parents))
            for group, named in trained.items()
            for name in named
        ),
        (f"Without a run: {', '.join(missing)}.",) if missing else (),
    )


def _ablation_cells(
    name: str, experiments: Mapping[str, RecordsBySeed], parents: Mapping[str, str]
) -> tuple[str, ...]:
    own, parent = experiments[name], parents.get(name, BASELINE)
    baseline = experiments.get(parent, {}) if name != BASELINE else {}
    errors, differences = [], []
    stuck = sum(record.at_chance for record in own.values())
    learned = not stuck and not any(record.at_chance for record in baseline.values())
    for measure in ("ten_crop_top1", "ten_crop_top5"):
        values, others = by_seed(own, measure), by_seed(baseline, measure)
        errors.append(number(fmean(values.values())) if values else NOTHING)
        if values and others and not learned:
            differences.append("not comparable: stayed at chance")
        elif values and others:
            found = difference(values, others)
            against = "" if parent == BASELINE else f" against {parent}"
            pairs = len(found.values)
            some = f" of {pairs} pairs" if found.paired and pairs < len(values) else ""
            differences.append(f"{with_interval(found)}{some}{against}")
        elif name == BASELINE or name in map(parents.get, experiments):
            differences.append("baseline")
        else:
            differences.append("no baseline with these settings")
    seeds = ", ".join(map(str, own)) + (f" ({stuck} at chance)" if stuck else "")
    return (seeds, *errors, *differences)


LADDER = "then_and_now_"
"""How the steps of the ladder from 2012 to today are called, in their order, after the baseline."""


def ladder(trained: Trained) -> dict[str, RecordsBySeed]:
    """The steps that were trained under equal settings; of several such groups, of the longest."""
    steps = [
        {name: runs for name, runs in named.items() if name == BASELINE or name.startswith(LADDER)}
        for named in trained.values()
    ]
    longest = max(steps, key=len, default={})
    return longest if len(longest) > 1 else {}


def step_of(name: str) -> str:
    """``batch norm`` of ``then_and_now_2_batch_norm``."""
    return (
        "2012" if name == BASELINE else name.removeprefix(LADDER).split("_", 1)[1].replace("_", " ")
    )


def ladder_table(steps: Mapping[str, RecordsBySeed], parents: Mapping[str, str]) -> Table:
    """Every step of the ladder beside the one before."""
    return Table(
        "ladder",
        "Then and now: from 2012 to today, one step at a time",
        ("Step", "Seeds", *TOPS, *(f"{top}, from the step before" for top in TOPS)),
        tuple((step_of(name), *_step_cells(name, steps, parents)) for name in steps),
        ("Errors in percent, ten crops; every step keeps those above it.",),
    )


def _step_cells(
    name: str, steps: Mapping[str, RecordsBySeed], parents: Mapping[str, str]
) -> tuple[str, ...]:
    *errors, top1, top5 = _ablation_cells(name, steps, parents)
    if name == BASELINE or parents.get(name, BASELINE) not in steps:
        return (*errors, NOTHING, NOTHING)
    return (*errors, *(cell.partition(" against ")[0] for cell in (top1, top5)))


def left_out_table(left_out: Mapping[str, str]) -> Table:
    """Runs that failed and records that cannot be used."""
    rows = tuple(left_out.items())
    return Table("left_out", "Runs and records left out", ("Run", "Reason"), rows)


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
