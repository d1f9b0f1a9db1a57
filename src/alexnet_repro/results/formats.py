"""A table of the report in Markdown and CSV, and its cells in LaTeX."""

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


def latex(text: str) -> str:
    """A cell, or another text, as LaTeX reads it."""
    return "".join(LATEX.get(character, character) for character in text)
