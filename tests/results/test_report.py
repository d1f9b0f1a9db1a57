"""The report in every format: all cells are there, nothing is fetched, nothing overflows."""

import csv
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from alexnet_repro.results.formats import comma_separated, latex, markdown
from alexnet_repro.results.intervals import Mean
from alexnet_repro.results.report import write_report
from alexnet_repro.results.tables import Table, number, with_interval

from .pages import trained, written

Config = Callable[[str], dict[str, Any]]
CLAIMS = ["two_gpu", "lrn", "dropout", "depth", "ten_crop", "table_1", "table_2_one", "lrn_cifar"]


@pytest.fixture(scope="module")
def report(config_of: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on runs of three experiments, of two seeds each, and on another set of images."""
    directory = tmp_path_factory.mktemp("report")
    records = [
        trained(config_of(name), top1 + seed / 10, seed=seed)
        for seed in (1, 2)
        for name, top1 in (("alexnet", 37.4), ("ablation_no_lrn", 38.9), ("ablation_tanh", 45.0))
    ]
    small = {"data__batch_size": 32, "model__width": 0.25, "dataset": "a<b> & c_d"}
    records.append(trained(config_of("alexnet"), 12.0, 1.0, **small))
    write_report(written(directory / "runs", *records), directory / "report", CLAIMS)
    return directory / "report"


class Page(HTMLParser):
    """Texts of the tables of a page by their section, and every address that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: dict[str, list[list[str]]] = {}
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self._rows: list[list[str]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.append(tag)
        self.addresses += [str(found[name]) for name in ("href", "src") if name in found]
        if tag == "section":
            self._rows = self.sections.setdefault(str(found["id"]), [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self._rows[-1][-1] += data


@pytest.mark.parametrize("name", ["claims", "table1", "table2", "ablations", "settings", "records"])
def test_every_format_holds_the_cells_of_every_table(report: Path, name: str) -> None:
    with (report / f"{name}.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) > 1
    page = Page((report / "index.html").read_text())
    joined = [[cell.replace("\n", "") for cell in row] for row in rows]
    assert [[cell.replace("\n", "") for cell in row] for row in page.sections[name]] == joined
    tex, text = (report / "report.tex").read_text(), (report / "README.md").read_text()
    for row in rows:
        for word in re.findall(r"[A-Za-z]{3,}|\d+\.\d+", " ".join(row)):
            assert word in tex, word
            assert word in text, word


def test_differences_and_their_intervals_are_shown(report: Path) -> None:
    with (report / "ablations.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file) if row[0].startswith("imagenet_2010")]
    assert [row[1] for row in rows] == ["alexnet", "ablation_no_lrn", "ablation_tanh"]
    baseline, lrn, tanh = rows
    assert baseline[2:] == ["1, 2", "37.5", "20.0", "baseline", "baseline"]
    assert lrn[3:6] == ["39.0", "20.0", "+1.5 (+1.5 to +1.5)"]
    assert tanh[5] == "+7.6 (+7.6 to +7.6)"


def test_an_experiment_that_builds_on_another_is_set_against_that_one(
    config_of: Config, tmp_path: Path
) -> None:
    errors = {"cifar_13": 18.0, "cifar_13_response_norm": 16.5, "relu_speed_tanh": 32.0}
    records = [
        trained(config_of(name), top1 + seed / 10, seed=seed, dataset="cifar10")
        for seed in (1, 2)
        for name, top1 in errors.items()
    ]
    write_report(written(tmp_path / "runs", *records), tmp_path / "report", CLAIMS)
    with (tmp_path / "report" / "ablations.csv").open(newline="") as file:
        difference = {row[1]: row[5] for row in csv.reader(file)}
    assert difference["cifar_13"] == "baseline"
    assert difference["cifar_13_response_norm"] == "−1.5 (−1.5 to −1.5) against cifar_13"
    assert difference["relu_speed_tanh"] == "no baseline with these settings"


def test_claims_say_what_was_measured_or_how_it_would_be(report: Path) -> None:
    with (report / "claims.csv").open(newline="") as file:
        rows = {row[0].partition("(§")[2][:3]: row for row in csv.reader(file)}
    lrn = rows["4.3"]
    assert lrn[-1] == "not measured", "the last claim of §4.3 is that on CIFAR-10"
    assert lrn[-2].startswith("python -m alexnet_repro.train -m experiment=cifar_13,")
    with (report / "claims.csv").open(newline="") as file:
        (lrn,) = [row for row in csv.reader(file) if row[0].startswith("Response normalization")]
    assert lrn[1:4] == [
        "−1.4 / −1.2",
        "top-1: 37.5 against 39.0\ntop-5: 20.0 against 20.0",
        "−1.5 (−1.5 to −1.5)\n0.0 (0.0 to 0.0)",
    ]
    assert lrn[5].splitlines() == [f"run{n}/result.json" for n in (0, 3, 1, 4)]
    assert lrn[6] == "disagrees"


def test_the_same_records_give_the_same_files(report: Path, tmp_path: Path) -> None:
    write_report(report.parent / "runs", tmp_path / "again", CLAIMS)
    files = {path.name for path in report.iterdir()}
    assert files == {path.name for path in (tmp_path / "again").iterdir()}
    for name in files:
        assert (report / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_the_page_needs_nothing_but_itself(report: Path) -> None:
    text = (report / "index.html").read_text()
    page = Page(text)
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"link", "script", "img", "iframe"} & set(page.tags)
    assert text.count("url(") == text.count("url(#")
    assert "@import" not in text


def test_names_of_data_are_text_everywhere(report: Path) -> None:
    assert "a&lt;b&gt; &amp; c_d" in (report / "index.html").read_text()
    assert "a<b>" not in (report / "index.html").read_text()
    assert r"a$<$b$>$ \& c\_d" in (report / "report.tex").read_text()
    assert r"a&lt;b> & c\_d" in (report / "README.md").read_text()


def test_numbers_have_a_minus_and_never_a_negative_zero() -> None:
    assert [number(x, 1, sign=True) for x in (-1.44, 1.46, -0.04, 0.0)] == [
        "−1.4", "+1.5", "0.0", "0.0",
    ]  # fmt: skip
    assert with_interval(Mean(-1.4, None, (-1.4,))) == "−1.4 (one seed)"
    assert with_interval(Mean(-1.4, (-2.0, -0.8), (-1.4,))) == "−1.4 (−2.0 to −0.8)"


AWKWARD = Table("t", "50 % & more", ("a_b", "c"), (("1|2\n3*", 'x, "y" $ # {z}'),), ("a ~ b",))


def test_markdown_keeps_a_row_on_its_line() -> None:
    lines = markdown(AWKWARD).splitlines()
    assert lines[2:5] == [r"| a\_b | c |", "|---|---|", r'| 1\|2<br>3\* | x, "y" $ # {z} |']


def test_csv_comes_back_as_it_was() -> None:
    assert list(csv.reader(comma_separated(AWKWARD).splitlines(keepends=True))) == [
        ["a_b", "c"], ["1|2\n3*", 'x, "y" $ # {z}'],
    ]  # fmt: skip


def test_latex_escapes_what_it_reads_as_commands() -> None:
    assert latex("50 % & more") == r"50 \% \& more"
    assert latex('1|2\n3*, "y" $ # {z}') == r"1|2\newline 3*, " + '"y"' + r" \$ \# \{z\}"


def test_latex_has_a_table_in_booktabs_for_each(report: Path) -> None:
    text = (report / "report.tex").read_text()
    rules = (r"\begin{table}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{table}")
    assert [text.count(rule) for rule in rules] == [6] * 5
    assert r"\caption{Table 1: error (\%) on the test set of ILSVRC-2010}\label{tab:table1}" in text
    assert r"CNN & 37.5 & 17.0 & 37.5 & 20.0 \\" in text


def test_latex_typesets_it(report: Path, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,tabularx}\\begin{document}\n"
        f"\\input{{{report / 'report.tex'}}}\n\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1000, 1440])
def test_tables_and_figures_are_there_and_nothing_overflows(
    browser: Any, report: Path, width: int, scheme: str
) -> None:
    page = browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
    )
    page.goto((report / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("table").count() == 6
    assert page.locator("figure svg").count() == 2
    assert page.locator("figure svg path[style*='var(--c']").count() == 2 * 7
    for locator in (page.locator("section"), page.locator("figure svg")):
        for i in range(locator.count()):
            box = locator.nth(i).bounding_box()
            assert box["height"] > 30
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
    outside = page.evaluate(
        "[...document.querySelectorAll('td, th, p, li, code, span')]"
        ".filter(e => getComputedStyle(e.closest('thead') ?? e).position != 'absolute')"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0)"
        ".map(e => e.textContent)"
    )
    assert outside == []
    colours = page.evaluate("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours]
    assert (brightness[0] > brightness[1]) == (scheme == "light")
    assert abs(brightness[0] - brightness[1]) > 150
    page.close()


@pytest.mark.long
def test_it_prints_on_pages(browser: Any, report: Path) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto((report / "index.html").as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.close()
