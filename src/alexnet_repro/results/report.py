"""The claims report: one page, and its tables in Markdown, CSV and LaTeX."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from alexnet_repro.base.files import write_text
from alexnet_repro.results.claims import Archive, Finding, read_claims
from alexnet_repro.results.conditions import Experiments
from alexnet_repro.results.curves import drawings
from alexnet_repro.results.formats import comma_separated, latex, markdown
from alexnet_repro.results.records import read_records
from alexnet_repro.results.tables import (
    Legend,
    Table,
    ablation_table,
    claims_table,
    papers_tables,
    records_table,
    short_table,
)

TITLE = "AlexNet: the paper’s claims and what was measured"
HEAD = f"# {TITLE}\n\nThe page `index.html` beside this file shows the curves too.\n\n"
LOADER = PackageLoader("alexnet_repro.results", "")


def write_report(
    runs: Path, output: Path, names: Sequence[str]
) -> tuple[list[Finding], dict[str, Table]]:
    """Read the records under ``runs`` and write the report into ``output``.

    It is ``index.html``, ``README.md``, ``report.tex`` and a CSV file for each table; ``short.md``
    holds of each measured claim one line. The same records give the same files.

    Returns:
        What was found of each claim, and the tables by name.

    Raises:
        UsageError: if there is no folder ``runs``, or no claim of one of these names.
    """
    claims = read_claims(names)
    archive = Archive(read_records(runs), Experiments())
    findings = {name: archive.find(name, claim) for name, claim in claims.items()}
    found = list(findings.values())
    legend = Legend(run.group for run in archive.runs)
    tables = [
        claims_table(found, legend),
        *papers_tables(findings),
        ablation_table(archive, legend),
        legend.table(),
        records_table(archive),
    ]
    page = Environment(
        loader=LOADER, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    tex = Environment(
        *("((*", "*))", "(((", ")))"),
        loader=LOADER,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    tex.filters["latex"] = latex
    files = {
        "index.html": page.get_template("index.html.jinja").render(
            title=TITLE,
            tables=tables,
            curves=drawings(archive, legend),
            counts=Counter(finding.verdict for finding in found),
            records=len(archive.runs),
            newest=max((run.record.date[:10] for run in archive.runs), default=""),
        ),
        "README.md": HEAD + "\n".join(map(markdown, tables)),
        "short.md": markdown(short_table(tables[0])),
        "report.tex": tex.get_template("report.tex.jinja").render(tables=tables),
        **{f"{table.name}.csv": comma_separated(table) for table in tables},
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_text(output / name, text)
    return found, {table.name: table for table in tables}
