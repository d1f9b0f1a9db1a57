"""A table of the report in Markdown, CSV and LaTeX (booktabs)."""

import csv
import io

from alexnet_repro.results.tables import Table

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "−": "$-$", "×": r"$\times$", "≈": r"$\approx$", "→": r"$\rightarrow$", "<": "$<$", ">": "$>$",
    "§": r"\S{}", "–": "--", "…": r"\dots{}", "\n": r"\newline ", "/": r"/\allowbreak{}",
    "=": r"=\allowbreak{}",
}  # fmt: skip
"""Characters that LaTeX reads as commands or has no letter for; and where paths may break."""


def markdown(table: Table) -> str:
    lines = [f"## {table.title}", ""]
    lines.append("| " + " | ".join(map(_markdown, table.columns)) + " |")
    lines.append("|" + "---|" * len(table.columns))
    lines += ["| " + " | ".join(map(_markdown, row)) + " |" for row in table.rows]
    for note in table.notes:
        lines += ["", _markdown(note)]
    return "\n".join(lines) + "\n"


def _markdown(cell: str) -> str:
    return "<br>".join(map(_markdown_line, cell.splitlines())) or " "


def _markdown_line(line: str) -> str:
    if line.startswith("python -m "):
        return f"`{line}`".replace("|", "\\|")
    escaped = line.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*")
    return escaped.replace("_", "\\_").replace("<", "&lt;")


def comma_separated(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return text.getvalue()


def latex(table: Table) -> str:
    """Needs the packages booktabs and tabularx."""
    columns = r">{\raggedright\arraybackslash}X" * len(table.columns)
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex(table.title)}}}\label{{tab:{table.name}}}",
        r"\scriptsize",
        rf"\begin{{tabularx}}{{\linewidth}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_latex, table.columns)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_latex, row)) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabularx}",
        *(rf"\par {_latex(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex(cell: str) -> str:
    return "".join(LATEX.get(character, character) for character in cell)
