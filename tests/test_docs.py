"""The site builds without a warning, and what it says to type exists."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .typed import check_typed

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
README = ROOT / "README.md"
TYPED = r"python -m alexnet_repro|^alexnet "


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_page_is_in_the_site(site: Path) -> None:
    for page in PAGES:
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page


def test_the_front_page_is_the_readme_with_its_picture(site: Path) -> None:
    text = (site / "index.html").read_text()
    for title in re.findall(r"^#+ (.*)", README.read_text(), re.MULTILINE):
        assert f">{title}<" in text
    assert (site / "results" / "imagenette_alexnet" / "figure_3.png").is_file()
    assert 'href="experiments.html"' in text


def test_docstrings_are_in_it_without_the_marks_of_another_language(site: Path) -> None:
    text = (site / "api" / "networks.html").read_text()
    assert "659,272 neurons" in text
    assert "divide_alpha_by_n" in text
    assert ":class:" not in text


def test_no_link_leads_out_of_it(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.search(r'href="[^"]*\.\./(results|src|conf|tests)/', page.read_text()), page


def test_files_that_are_named_exist() -> None:
    """In the repository, by path or by the end of it; ``your_own.md`` names what users write."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files, found = tracked.stdout.splitlines(), list[str]()
    for page in [README, ROOT / "CONTRIBUTING.md", *PAGES]:
        named = re.findall(
            r"`((?:src|conf|tests|results|benchmarks|notebooks)/[\w./]+\w|[\w/]+\.py)`",
            page.read_text(),
        )
        found += named
        for name in named if page.name != "your_own.md" else ():
            there = (ROOT / name).exists() or any(f"/{file}".endswith(f"/{name}") for file in files)
            assert there, f"{page}: {name}"
    assert len(found) > 50


def _typed() -> list[str]:
    """The commands of the pages, a line each."""
    found = []
    for page in [README, *PAGES]:
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line for line in lines if re.search(TYPED, line)]
    return found


def test_the_pages_hold_commands() -> None:
    assert len(_typed()) > 20


@pytest.mark.parametrize("line", _typed())
def test_a_command_of_the_pages_is_one_of_the_package(line: str) -> None:
    """No command, option, key or choice is misspelt."""
    if wrapped := re.search(r"--wrap '(.*)'", line):
        line = wrapped[1]
    # What a command does may stand beside it.
    line = re.split(r"\s{3,}|\s+#", re.sub(rf".*?({TYPED})[. ]?", "", line))[0]
    if arguments := shlex.split(line):
        check_typed(arguments)
