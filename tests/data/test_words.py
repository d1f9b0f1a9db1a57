"""Lines that name classes are read as they are written."""

from pathlib import Path

import pytest

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.words import named_classes, words_of


@pytest.mark.parametrize(
    ("text", "names", "words"),
    [
        ("great white shark\ncock\n", ("great white shark", "cock"), None),
        ("\ufeffcat\r\n\r\ndog\r\n", ("cat", "dog"), None),
        ("great white\ta shark\ndog\n", ("great white", "dog"), ("a shark", "dog")),
        ("n01440764 tench, Tinca\nn02012849\tcrane\n", ("n01440764", "n02012849"),
         ("tench, Tinca", "crane")),
        ("n01440764\nn02012849\n", ("n01440764", "n02012849"), None),
    ],
)  # fmt: skip
def test_a_line_is_a_name_or_a_name_and_words(
    tmp_path: Path, text: str, names: tuple[str, ...], words: tuple[str, ...] | None
) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert named_classes(tmp_path / "a.txt", "--classes a.txt") == (names, words)


def test_a_name_that_is_there_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("crane\ndog\ncrane\n")
    with pytest.raises(UsageError, match=r"--classes a\.txt: names the class 'crane' 2 times"):
        named_classes(tmp_path / "a.txt", "--classes a.txt")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_is_no_text_or_not_there_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UsageError, match=r"--classes a\.txt: cannot be read as text \("):
        named_classes(tmp_path / "a.txt", "--classes a.txt")


def test_words_are_those_of_the_classes_that_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("cat a pet\nblue whale\tlarge\nblue whales are\nelse x\n")
    said = words_of(["cat", "blue whale", "dog"], tmp_path / "a.txt", "--words a.txt")
    assert said == {"cat": "a pet", "blue whale": "large"}
