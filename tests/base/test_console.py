"""What a terminal shows of text from outside."""

import io
import logging

import pytest
from rich.table import Table

from alexnet_repro.base.console import ConsoleHandler, Terminal, console, printable

EVIL = "\x1b[31mX\x1b]0;pwn\x07\x9b2J\u202e\udc80.png"
SHOWN = r"\x1b[31mX\x1b]0;pwn\x07\x9b2J\u202e\udc80.png"


def test_control_characters_are_shown_and_other_letters_stay() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("a\nb") == r"a\nb"
    assert printable("a\u200fb\ufeff\u2060\U000e0041") == r"a\u200fb\ufeff\u2060\U000e0041"
    assert printable("می\u200cخواهم") == "می\u200cخواهم"
    assert printable("a\nb\r", keep="\n") == "a\nb\\r"
    assert printable("Größe 9.41\u202fAM 👩‍🔬 日本.png") == "Größe 9.41\u202fAM 👩‍🔬 日本.png"


def test_no_text_on_the_console_controls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, width=200, markup=False, highlight=False)
    table = Table(EVIL)
    table.add_row(EVIL)
    terminal.print(table)
    terminal.print(EVIL)
    monkeypatch.setattr(console, "file", file)
    ConsoleHandler().emit(logging.makeLogRecord({"msg": EVIL}))
    assert file.getvalue().count(SHOWN) == 4
    assert not {"\x07", "\x9b", "\u202e", "\x1b]"} & set(file.getvalue())
    assert "\x1b[31m" not in file.getvalue()
