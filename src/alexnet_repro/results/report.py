"""The claims report: one page, and its tables in Markdown, CSV and LaTeX."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from alexnet_repro.results import curves
from alexnet_repro.results.claims import Archive, Finding, read_claims
from alexnet_repro.results.conditions import Experiments
from alexnet_repro.results.formats import comma_separated, latex, markdown
from alexnet_repro.results.record import write_text
from alexnet_repro.results.records import read_records
from alexnet_repro.results.tables import (
    Legend,
    Table,
    ablation_table,
    claims_table,
    records_table,
    short_table,
    table_1,
    table_2,
)

TRAINED = frozenset({"result"})
TITLE = "AlexNet: the paper’s claims and what was measured"
LATEX_HEAD = "% Needs \\usepackage{booktabs,tabularx}\n"


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
    kinds = TRAINED.union(
        *(figure.of.kinds for c in claims.values() for figure in c.figures if figure.of)
    )
    records = [record for record in read_records(runs) if record.kind in kinds]
    archive = Archive(records, Experiments.of_this_version())
    findings = {name: archive.find(name, claim) for name, claim in claims.items()}
    groups = [archive.group(record) for record in archive.records]
    legend = Legend(archive, groups)
    tables = [
        claims_table(list(findings.values()), legend),
        table_1(findings),
        table_2(findings),
        ablation_table(archive, legend),
        legend.table(),
        records_table(archive),
    ]
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "index.html", page(archive, tables, list(findings.values()), legend))
    head = f"# {TITLE}\n\nThe page `index.html` beside this file shows the curves too.\n\n"
    write_text(output / "README.md", head + "\n".join(map(markdown, tables)))
    write_text(output / "short.md", markdown(short_table(list(findings.values()), legend)))
    write_text(output / "report.tex", LATEX_HEAD + "\n".join(map(latex, tables)))
    for table in tables:
        write_text(output / f"{table.name}.csv", comma_separated(table))
    return list(findings.values()), {table.name: table for table in tables}


def page(
    archive: Archive, tables: Sequence[Table], findings: Sequence[Finding], legend: Legend
) -> str:
    """The whole report as one HTML file that needs no other."""
    environment = Environment(
        loader=PackageLoader("alexnet_repro.results", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.jinja").render(
        title=TITLE,
        tables=tables,
        curves=curves.drawings(archive, legend),
        counts=Counter(finding.verdict for finding in findings),
        records=len(archive.records),
        newest=max((r.values["date"][:10] for r in archive.records), default=""),
        width=curves.WIDTH,
        height=curves.HEIGHT,
        left=curves.LEFT,
        right=curves.RIGHT,
        bottom=curves.BOTTOM,
    )
