"""What the benchmarks share: contenders that take turns, a table on the terminal, a record."""

import argparse
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch.utils.benchmark import Timer

from alexnet_repro.base.console import console
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import write_json
from alexnet_repro.base.record import provenance

FORMAT = 1


@dataclass(frozen=True)
class Timing:
    """The seconds of every round of one contender, which gets ``items`` done in them."""

    name: str
    seconds: Sequence[float]
    items: int = 1

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def times_as_fast_as(self, other: "Timing") -> float:
        """The median of the rounds' ratios: what slows down a whole round changes none."""
        rounds = zip(self.seconds, other.seconds, strict=True)
        return statistics.median(theirs / mine for mine, theirs in rounds)

    def row(self, baseline: "Timing | None" = None) -> dict[str, Any]:
        """For table and record: milliseconds with their range, items/s, ratio to a baseline."""
        row = {
            "name": self.name,
            "milliseconds": round(1000 * self.median, 3),
            "fastest": round(1000 * min(self.seconds), 3),
            "slowest": round(1000 * max(self.seconds), 3),
            "per_second": round(self.items / self.median, 1),
        }
        if baseline is not None:
            row["ratio"] = round(self.times_as_fast_as(baseline), 3)
        return row


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


def seconds(run: Callable[[], object]) -> float:
    """Seconds of a call, the median of as many as take 0.2 s, after calls that warm up.

    What a call leaves to the GPU is waited for.
    """
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange().median


def in_turn(
    contenders: Mapping[str, Callable[[], float]], rounds: int, items: int = 1
) -> list[Timing]:
    """Have every contender measure its own seconds once a round.

    What disturbs the machine for a while disturbs all of them.
    """
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            measured[name].append(measure())
    return [Timing(name, taken, items) for name, taken in measured.items()]


def positive(text: str) -> int:
    """The type of an argument that counts something."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def run(
    parser: argparse.ArgumentParser, benchmark: Callable[..., Iterable[Measured]], rounds: int = 5
) -> None:
    """Measure what the command line asks for; show every table, and write it down at once."""
    name = Path(sys.argv[0]).stem
    parser.add_argument("--rounds", type=positive, default=rounds, help="medians are over them")
    parser.add_argument(
        "--output", type=Path, default=f"runs/benchmark/{name}.json", help="the record"
    )
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    settings = vars(parser.parse_args())
    output = settings.pop("output")
    record: dict[str, Any] = {
        "format": FORMAT,
        "benchmark": name,
        **provenance("", []),
        "command": shlex.join(["python", f"benchmarks/{name}.py", *sys.argv[1:]]),
        "settings": settings,
        "threads": torch.get_num_threads(),
        "tables": [],
    }
    try:
        for table in benchmark(**settings):
            _show(table)
            record["tables"].append(asdict(table))
            output.parent.mkdir(parents=True, exist_ok=True)
            write_json(output, record)
    except UsageError as error:
        parser.exit(2, f"error: {error}\n")
    console.print(f"written to {output}")


def _show(measured: Measured) -> None:
    console.print(measured.title, style="bold")
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for column, value in measured.rows[0].items():
        number = isinstance(value, int | float)
        title = column.replace("_", " ")
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    for row in measured.rows:
        table.add_row(*map(_text, row.values()))
    console.print(table, soft_wrap=False)
    for name, value in measured.facts.items():
        console.print(f"{name}: {_text(value)}")
    console.print()


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
