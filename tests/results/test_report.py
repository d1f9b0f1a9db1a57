"""The report in every format: all cells are there, nothing is fetched, nothing overflows."""

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alexnet_repro.results.intervals import Mean
from alexnet_repro.results.plots import learning_curves
from alexnet_repro.results.records import Record
from alexnet_repro.results.report import write_report
from alexnet_repro.results.tables import Table, number, with_interval

from .pages import trained, written

Config = Callable[[str], dict[str, Any]]
CLAIMS = [
    "two_gpu",
    "lrn",
    "dropout",
    "depth",
    "ten_crop",
    "table_1",
    "table_2_one",
    "lrn_cifar",
    "kernels",
]


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
    runs = written(directory / "runs", *records)
    left_out(runs)
    write_report(runs, directory / "report", CLAIMS)
    return directory / "report"


def left_out(runs: Path) -> None:
    """Beside them what a report cannot use: a torn record, a failed job, a run without an end."""
    files = {
        "torn/result.json": "{",
        "sweep/3/job.json": {"job": 3, "status": "failed", "error": "the loss is nan at step 7"},
        "sweep/4/job.json": {"job": 4, "status": "completed"},
        "running/run.json": [],
        "sweep/3/run.json": [],
        "run0/run.json": [],
    }
    for name, value in files.items():
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, str) else json.dumps(value)
        (runs / name).write_text(text)


class Page(HTMLParser):
    """Texts of a page by their section, and every address that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self._section: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.append(tag)
        self.addresses += [str(found[name]) for name in ("href", "src") if name in found]
        if tag == "section":
            self._section = self.texts.setdefault(str(found["id"]), [])

    def handle_data(self, data: str) -> None:
        self._section.append(data)


TABLES = [
    "claims",
    "unmeasured",
    "table1",
    "table2",
    "ablations",
    "left_out",
    "settings",
    "records",
]


@pytest.mark.parametrize("name", TABLES)
def test_every_format_holds_the_cells_of_every_table(report: Path, name: str) -> None:
    with (report / f"{name}.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) > 1
    shown = "".join(Page((report / "index.html").read_text()).texts[name])
    text = (report / "README.md").read_text()
    for row in rows[1:]:
        for line in (line for cell in row for line in cell.splitlines()):
            assert line in shown, line
        for word in re.findall(r"[A-Za-z]{3,}|\d+\.\d+", " ".join(row)):
            assert word in text, word


def test_differences_and_their_intervals_are_shown(report: Path) -> None:
    with (report / "ablations.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file) if row[0].startswith("imagenet_2010")]
    assert [row[1] for row in rows] == ["alexnet", "ablation_no_lrn", "ablation_tanh"]
    baseline, lrn, tanh = rows
    assert baseline[2:] == ["1, 2", "37.5", "20.0", "baseline", "baseline"]
    assert lrn[3:6] == ["39.0", "20.0", "+1.5 (+1.5 to +1.5)"]
    assert tanh[5] == "+7.6 (+7.6 to +7.6)"
    page = Page((report / "index.html").read_text())
    runs = {address for address in page.addresses if address.endswith("result.json")}
    assert runs == {f"../runs/run{number}/result.json" for number in range(7)}


def test_an_experiment_that_builds_on_another_is_set_against_that_one(
    config_of: Config, tmp_path: Path
) -> None:
    errors = {"cifar_13": 18.0, "cifar_13_response_norm": 16.5, "relu_speed_tanh": 32.0}
    errors |= {"cifar_18": 20.0}  # relu_speed builds on it, and was not trained
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
    assert difference["cifar_18"] == "no baseline with these settings"


def rows_of(report: Path, name: str) -> list[list[str]]:
    with (report / f"{name}.csv").open(newline="") as file:
        return list(csv.reader(file))[1:]


def test_claims_say_what_was_measured_or_how_it_would_be(report: Path) -> None:
    (other,) = [row for row in rows_of(report, "unmeasured") if "on CIFAR-10" in row[0]]
    assert other[3].startswith("python -m alexnet_repro.train -m experiment=cifar_13,")
    (lrn,) = [row for row in rows_of(report, "claims") if row[0].startswith("Response norm")]
    assert lrn[1:5] == [
        "−1.4 / −1.2",
        "top-1: 37.5 against 39.0\ntop-5: 20.0 against 20.0",
        "−1.5 (−1.5 to −1.5)\n0.0 (0.0 to 0.0)",
        "confirmed\nnot resolved: smallest detectable effect 0.0 points (80 % power)",
    ]
    assert lrn[5] == "the paper’s data: imagenet_2010 test"
    assert lrn[6].splitlines() == [f"run{n}/result.json" for n in (0, 3, 1, 4)]


def test_a_run_without_a_record_is_listed_with_its_reason(report: Path) -> None:
    reasons = dict(rows_of(report, "left_out"))
    assert reasons.keys() == {"running", "sweep/3", "torn/result.json"}
    assert reasons["sweep/3"] == "the loss is nan at step 7"
    assert "is running" in reasons["running"]
    assert "JSON" in reasons["torn/result.json"]


def test_the_same_records_give_the_same_files(report: Path) -> None:
    again = report.parent / "again"
    write_report(report.parent / "runs", again, CLAIMS)
    files = {path.name for path in report.iterdir()}
    assert files == {path.name for path in again.iterdir()}
    for name in files:
        assert (report / name).read_bytes() == (again / name).read_bytes(), name


def test_the_page_needs_nothing_but_itself(report: Path) -> None:
    text = (report / "index.html").read_text()
    page = Page(text)
    for address in page.addresses:
        record = report / address
        assert address.startswith("#") or record.is_file(), address
    assert not {"link", "script", "iframe"} & set(page.tags)
    assert text.count("url(") == text.count("url(#")
    assert "@import" not in text


def test_names_of_data_are_text_everywhere(report: Path) -> None:
    assert "a&lt;b&gt; &amp; c_d" in (report / "index.html").read_text()
    assert "a<b>" not in (report / "index.html").read_text()
    assert r"a&lt;b> & c\_d" in (report / "README.md").read_text()


def test_a_picture_that_lies_by_a_record_is_in_the_page(config_of: Config, tmp_path: Path) -> None:
    record = {
        "format": 1,
        "command": "python -m alexnet_repro.figures 3",
        "date": "2026-01-01",
        "network": {"experiment": "alexnet", "seed": 1, "config": config_of("alexnet")},
        "colour_saturation": {"p_value": 0.01},
    }
    runs = written(tmp_path / "runs", record, kind="kernels")
    write_report(runs, tmp_path / "without", CLAIMS)
    Image.new("RGB", (2, 2)).save(runs / "run0" / "figure_3.png")
    write_report(runs, tmp_path / "with", CLAIMS)
    without, with_picture = (
        (tmp_path / name / "index.html").read_text() for name in ("without", "with")
    )
    assert "<img" not in without
    assert 'src="data:image/png;base64,' in with_picture


@pytest.mark.parametrize("scheme", ["=", "+", "-", "@"])
def test_a_cell_that_a_spreadsheet_would_run_is_text(scheme: str) -> None:
    evil = f'{scheme}HYPERLINK("http://evil.example","1")'
    table = Table("t", "T", ("a", "b"), ((evil, "+1.5 (+1.0 to +2.0) against x_1\n−1"),))
    _, row = csv.reader(table.comma_separated().splitlines(keepends=True))
    assert row == [f"'{evil}", "+1.5 (+1.0 to +2.0) against x_1\n−1"]


def test_a_command_with_backticks_and_names_with_escapes_stay_what_they_are() -> None:
    command = "python -m alexnet_repro.train run_name=`a``b`"
    text = Table("t", "T", ("a", "b"), ((command, "\x1b[31m[x](javascript:y)`"),)).markdown()
    assert text.splitlines()[-1] == (
        f"| ```{command} ``` | \\\\x1b\\[31m\\[x\\](javascript:y)\\` |"
    )


def test_numbers_have_a_minus_and_never_a_negative_zero() -> None:
    assert [number(x, 1, sign=True) for x in (-1.44, 1.46, -0.04, 0.0)] == [
        "−1.4", "+1.5", "0.0", "0.0",
    ]  # fmt: skip
    assert with_interval(Mean(-1.4, (-1.4,))) == "−1.4 (one seed)"
    assert with_interval(Mean(-1.4, (), 0.6 / 1.96)) == "−1.4 (−2.0 to −0.8)"


AWKWARD = Table("t", "50 % & more", ("a_b", "c"), (("1|2\n3*", 'x, "y" $ # {z}'),), ("a ~ b",))


def test_markdown_keeps_a_row_on_its_line() -> None:
    lines = AWKWARD.markdown().splitlines()
    assert lines[2:5] == [r"| a\_b | c |", "|---|---|", r'| 1\|2<br>3\* | x, "y" $ # {z} |']


def test_csv_comes_back_as_it_was() -> None:
    assert list(csv.reader(AWKWARD.comma_separated().splitlines(keepends=True))) == [
        ["a_b", "c"], ["1|2\n3*", 'x, "y" $ # {z}'],
    ]  # fmt: skip


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
    assert page.locator(".group table").count() == 2
    assert page.locator("figure svg:visible").count() == 3
    # Of seven runs those of the baseline are drawn beside each of two experiments.
    assert page.locator(".group svg path[style*='var(--curve)']").count() == 2 * 4
    assert page.locator(".group svg path[style*='var(--first)']").count() == 2 * 5
    assert page.locator("#forest svg:visible").count() == 1
    assert not page.locator("#unmeasured table").is_visible()
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for locator in (page.locator("section"), page.locator("figure svg:visible")):
        for i in range(locator.count()):
            box = locator.nth(i).bounding_box()
            assert box["height"] > 30
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
    outside = page.evaluate(
        "[...document.querySelectorAll('.group > div, td, th, p, li, code, span')]"
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
    page.set_viewport_size({"width": 930, "height": 700})  # A4
    row = "getComputedStyle(document.querySelector('.group tr')).display"
    assert page.evaluate(row) == "table-row", "on paper it is no phone"
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.close()


def test_the_forest_plot_sets_each_difference_beside_the_papers(report: Path) -> None:
    text = (report / "index.html").read_text()
    wide, narrow = re.findall(
        r'<div class="(?:wide|narrow)" role="img" aria-label="([^"]*)">', text
    )
    assert wide == narrow
    rows = wide.split("; ")
    assert rows[0] == (
        "Response normalization, top-1: paper −1.4, here −1.5 (−1.5 to −1.5), confirmed"
    )
    assert "Table 1, CNN, top-1: paper 0.0, here 0.0 (−0.6 to +0.7), confirmed" in rows
    assert not any("Table 2" in row for row in rows), "its photographs are others"
    drawn = re.findall(r'<div class="wide".*?</svg>', text, re.DOTALL)[0]
    assert all(row.partition(":")[0] in drawn for row in rows)


def test_a_student_sees_the_runs_first_and_what_is_not_measured_is_folded(
    config_of: Config, tmp_path: Path
) -> None:
    runs = written(tmp_path / "runs", trained(config_of("alexnet"), 5.0, dataset="miniature"))
    write_report(runs, tmp_path / "report")
    text = (tmp_path / "report" / "index.html").read_text()
    sections = re.findall(r'<section id="(\w+)">\s*(<details>)?', text)
    open_ones = [name for name, folded in sections if not folded]
    assert open_ones == ["forest", "ablations", "claims", "reading"]
    assert {"table1", "table2", "unmeasured", "records"} < {name for name, _ in sections}


STAIRS = {"alexnet": 30.0, "then_and_now_1_he_start": 30.0, "then_and_now_2_batch_norm": 27.0}
STAIRS |= {"then_and_now_5_cosine": 24.0, "then_and_now_6_adamw": 25.0}
STAIRS |= {"then_and_now_8_weight_average": 23.0}


@pytest.fixture(scope="module")
def stairs(config_of: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on steps from 2012 to today, each of two seeds in the settings of ``small``."""
    folder = tmp_path_factory.mktemp("stairs")
    records = [
        trained(config_of(f"[small,{name}]"), top1 + seed / 10, seed=seed, dataset="imagenette")
        for seed in (1, 2)
        for name, top1 in STAIRS.items()
    ]
    write_report(written(folder / "runs", *records), folder / "report", CLAIMS)
    return folder / "report"


def test_each_step_from_2012_to_today_is_set_beside_the_one_before(stairs: Path) -> None:
    rows = rows_of(stairs, "ladder")
    assert [row[:3] for row in rows] == [
        ["2012", "1, 2", "30.1"],
        ["he start", "1, 2", "30.1"],
        ["batch norm", "1, 2", "27.1"],
        ["cosine", "1, 2", "24.1"],
        ["adamw", "1, 2", "25.1"],
        ["weight average", "1, 2", "23.1"],
    ]
    assert [row[4] for row in rows] == [
        "–",
        "0.0 (0.0 to 0.0)",
        "−3.0 (−3.0 to −3.0)",
        "–",  # the step before it is not there
        "+1.0 (+1.0 to +1.0)",
        "–",
    ]


def test_the_steps_are_drawn_as_a_staircase_from_top_to_bottom(stairs: Path) -> None:
    text = (stairs / "index.html").read_text()
    (drawn,) = re.findall(r'<section id="ladder">.*?(<svg.*?</svg>)', text, re.DOTALL)
    heights = []
    for step in ("2012", "he start", "batch norm", "cosine", "adamw", "weight average"):
        (place,) = re.findall(rf' y="([\d.]+)"[^>]*>{step}</text>', drawn)
        heights.append(float(place))
    assert heights == sorted(heights)
    for error in ("30.1", "27.1", "24.1", "25.1", "23.1"):
        assert f">{error}</text>" in drawn


def test_without_steps_there_is_no_staircase(report: Path) -> None:
    assert rows_of(report, "ladder") == []
    assert 'id="ladder"' not in (report / "index.html").read_text()


def test_each_experiment_has_a_plot_of_its_own_beside_the_first() -> None:
    rows = [{"epoch": n, "val/top1_error": 50, "train/top1_error": 40} for n in (1, 2)]
    record = Record("result.json", "result", {"curve": rows})
    names = ["alexnet", *(f"ablation_{number}x" for number in range(9))]
    drawn = learning_curves({name: {0: record} for name in names}, "set")
    assert drawn is not None
    assert all(f">{number}x</text>" in drawn for number in range(9))
    assert ">epoch (grey: alexnet)</text>" in drawn
    assert drawn.count("var(--first)") == drawn.count("var(--curve)") == 2 * 9


def test_runs_without_a_curve_are_not_drawn() -> None:
    drawn = {"curve": [{"epoch": n, "val/top1_error": 50} for n in (1, 2)]}
    runs = {
        name: {0: Record("result.json", "result", values)}
        for name, values in (("alexnet", {}), ("ablation_tanh", drawn))
    }
    alone = learning_curves(runs, "set")
    assert alone is not None
    assert ">ablation_tanh</text>" not in alone
    assert ">tanh</text>" in alone
    assert learning_curves({"alexnet": runs["alexnet"]}, "set") is None
