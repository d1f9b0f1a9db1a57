"""The one place that writes to the terminal, so that messages and progress bars do not mix."""

import io
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0
UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\u3164\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)
"""Control characters, those that turn the direction of text, and those that are not seen."""


def printable(text: str, keep: str = "") -> str:
    """A name or message from outside, whose control characters a terminal shows and does not obey.

    Args:
        keep: those that stay, such as the newlines of a message.
    """
    return UNSAFE.sub(lambda c: c[0] if c[0] in keep else repr(c[0])[1:-1], text)


class Terminal(Console):
    """A console on which no text, be it in a table, controls the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text, keep="\n\t"), **options)


console = Terminal(highlight=False, soft_wrap=True, markup=False, emoji=False)


def take_any_character() -> None:
    """Have terminals and files without Unicode show what they lack otherwise, not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class ConsoleHandler(logging.Handler):
    """Shows log messages above a progress bar that is being drawn, in lines of any length."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            console.print(self.format(record))
        except Exception:
            self.handleError(record)


def show_on_terminal() -> None:
    """Messages as they are, and no file."""
    handler = ConsoleHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # It says which build of itself it found.
    logging.getLogger("faiss").setLevel(logging.WARNING)
    # What cannot be shown, since the disk is full, is no reason to say so twice a line.
    logging.raiseExceptions = False


@contextmanager
def counting(title: str, total: int, unit: str, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line now and then elsewhere; yields what counts units as done.

    Args:
        done: units that were done before.
    """
    bar = Progress(
        TextColumn(title),
        BarColumn(20),
        TextColumn("{task.completed}/{task.total}  {task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task(title, total=total, completed=done, speed="")
    started = told = time.monotonic()
    before = done

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        now = time.monotonic()
        each = (now - started) / max(done - before, 1)
        speed = f"{1 / max(each, 1e-9):.1f} {unit}/s"
        bar.update(task, completed=done, speed=speed)
        if bar.disable and now - told > SECONDS_BETWEEN_LINES:
            told = now
            left = timedelta(seconds=round(max(0, total - done) * each))
            log.info("%s: %d of %d %s, %s, %s left", title, done, total, unit, speed, left)

    with bar:
        yield advance
