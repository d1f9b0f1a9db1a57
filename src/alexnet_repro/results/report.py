"""The claims report: one page, and its tables in Markdown and CSV."""

import base64
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from alexnet_repro.base.files import write_text
from alexnet_repro.results.claims import Archive, Finding, counted, read_claims
from alexnet_repro.results.conditions import Experiments
from alexnet_repro.results.plots import forest_plot, forest_rows, learning_curves, staircase
from alexnet_repro.results.records import RecordsBySeed, read_records
from alexnet_repro.results.tables import (
    Legend,
    Table,
    Trained,
    ablation_table,
    claims_table,
    ladder,
    ladder_table,
    left_out_table,
    papers_tables,
    records_table,
    short_table,
    trained_groups,
    unmeasured_table,
)

TITLE = "AlexNet: the paper’s claims and what was measured"
HEAD = f"# {TITLE}\n\nThe page `index.html` beside this file shows plots and curves too.\n\n"
LARGEST_PICTURE = 2**20
"""Bytes of a picture that the page takes in."""


def write_report(
    runs: Path, output: Path, names: Sequence[str] = ()
) -> tuple[list[Finding], dict[str, Table]]:
    """Read the records under ``runs`` and write the report into ``output``.

    It is ``index.html``, ``README.md`` and a CSV file for each table; ``short.md`` holds of each
    measured claim one line. The same records give the same files.

    Args:
        names: of the claims; without any, all.

    Returns:
        What was found of each claim, and the tables by name.

    Raises:
        UsageError: if there is no folder ``runs``, or no claim of one of these names.
    """
    claims = read_claims(names)
    records, left_out = read_records(runs)
    archive = Archive(records, Experiments())
    findings = {name: archive.find(claim) for name, claim in claims.items()}
    found = list(findings.values())
    trained, legend = trained_groups(archive), Legend(run.group for run in archive.runs)
    steps = ladder(trained)
    listed = [
        claims_table(found, legend),
        ablation_table(trained, archive.experiments, legend),
        ladder_table(steps, archive.experiments.parents),
        *papers_tables(findings),
        unmeasured_table(found),
        left_out_table(left_out),
        legend.table(),
        records_table(archive),
    ]
    tables = {table.name: table for table in listed}
    newest = max((record.date[:10] for record in records), default="")
    files = {
        "index.html": _page(
            found,
            tables,
            list(_groups(trained, tables["ablations"], legend)),
            staircase(steps) if steps else "",
            runs,
            records_at=Path(os.path.relpath(runs, output)).as_posix(),
            newest=newest,
        ),
        "README.md": HEAD + "\n".join(table.markdown() for table in listed if table.rows),
        "short.md": short_table(tables["claims"]).markdown(),
        **{f"{table.name}.csv": table.comma_separated() for table in listed},
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_text(output / name, text)
    return found, tables


Section = tuple[Table, dict[tuple[str, ...], RecordsBySeed], str | None]


def _page(
    findings: list[Finding],
    tables: dict[str, Table],
    groups: list[Section],
    stairs: str,
    runs: Path,
    **said: str,
) -> str:
    page = Environment(
        loader=PackageLoader("alexnet_repro.results", ""),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    rows = forest_rows(findings)
    measured = [finding for finding in findings if finding.group]
    pictures = {
        row: (finding.claim.title, picture)
        for row, finding in zip(tables["claims"].rows, measured, strict=True)
        if (picture := _picture(runs, finding))
    }
    return page.get_template("index.html.jinja").render(
        title=TITLE,
        tables=tables,
        forest=[forest_plot(rows, narrow) for narrow in (False, True)] if rows else [],
        rows=rows,
        groups=groups,
        stairs=stairs,
        pictures=pictures,
        counts=counted(findings),
        **said,
    )


def _groups(trained: Trained, table: Table, legend: Legend) -> Iterator[Section]:
    """Of each group its rows of the table of experiments, the runs of each, and its curves."""
    rows = iter(table.rows)
    for group, experiments in trained.items():
        title = legend.of(group)
        own = tuple(row[1:] for row in islice(rows, len(experiments)))
        part = Table(table.name, title, table.columns[1:], own)
        runs = dict(zip(own, experiments.values(), strict=True))
        yield part, runs, learning_curves(experiments, title)


def _picture(runs: Path, finding: Finding) -> str | None:
    """The picture of a claim, as an address that holds it, if one lies by the records behind it."""
    for record in finding.records if finding.claim.picture else ():
        own = runs / record.name
        for folder in (own.parent, own.parent.parent):
            path = folder / str(finding.claim.picture)
            if not path.is_relative_to(runs) or not path.is_file():
                continue
            if path.stat().st_size <= LARGEST_PICTURE:
                return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return None
