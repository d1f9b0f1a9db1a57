"""What a benchmark found: tables on the terminal and a record in JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from alexnet_repro.console import console
from alexnet_repro.results.record import provenance, write_json

FORMAT = 1


@dataclass(frozen=True)
class Measured:
    """A table of a benchmark.

    Attributes:
        title: what was measured, with its units.
        rows: the same keys in each.
        facts: single figures beside the table, by a name that says what they are.
    """

    title: str
    rows: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)


def print_measured(measured: Measured) -> None:
    console.print(measured.title, style="bold")
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for column in measured.rows[0] if measured.rows else ():
        number = isinstance(measured.rows[0][column], int | float)
        table.add_column(column.replace("_", " "), justify="right" if number else "left")
    for row in measured.rows:
        table.add_row(*(_text(value) for value in row.values()))
    console.print(table, soft_wrap=False)
    for name, value in measured.facts.items():
        console.print(f"{name}: {_text(value)}")
    console.print()


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def write_record(
    path: Path, name: str, overrides: Sequence[str], settings: Mapping[str, Any], tables: Any
) -> None:
    """Write what was measured with command, commit, machine, date and threads."""
    record = {
        "format": FORMAT,
        "benchmark": name,
        **provenance("alexnet_repro.benchmark", overrides),
        "settings": {key: value for key, value in settings.items() if not key.startswith("_")},
        "threads": torch.get_num_threads(),
        "tables": [
            {"title": table.title, "rows": table.rows, "facts": table.facts} for table in tables
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
