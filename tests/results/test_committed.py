"""The figures of the READMEs are those of the committed records."""

import csv
import functools
import json
import os
import re
import statistics
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from alexnet_repro.base.config import CONF, composed
from alexnet_repro.results.report import write_report
from alexnet_repro.results.tables import number
from alexnet_repro.training.record import result_line

ROOT = Path(__file__).parents[2]
RECORDS = sorted((ROOT / "results").glob("*/result.json"))
ALL = sorted((ROOT / "results").glob("**/result.json"))


def test_there_are_committed_records() -> None:
    assert {path.parent.name for path in RECORDS} >= {"demo", "imagenette_alexnet"}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_the_readme_of_the_results_shows_the_record(path: Path) -> None:
    record = json.loads(path.read_text())
    assert result_line(record) in (ROOT / "results" / "measurements.md").read_text()


def test_the_readme_shows_what_the_demo_prints() -> None:
    assert result_line(committed("demo/result.json")) in README


@pytest.mark.parametrize("path", ALL, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_a_record_says_where_it_comes_from(path: Path) -> None:
    record = json.loads(path.read_text())
    assert record["command"].startswith("python -m alexnet_repro.train ")
    assert len(record["commit"]) == 40
    assert record["packages"]["torch"]
    assert record["machine"]["processor"]
    assert record["config"]["seed"] == record["seed"]


@pytest.mark.parametrize("path", ALL, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_the_curve_beside_a_record_is_the_one_inside(path: Path) -> None:
    record = json.loads(path.read_text())
    with (path.parent / "curve.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert rows == record["curve"]
    assert len(rows) == record["epochs"]


@pytest.mark.parametrize("name", ["imagenette_alexnet", "imagenette_alexnet_seed2"])
def test_the_columns_of_the_kernels_differ_as_recorded(name: str) -> None:
    text = (ROOT / "results" / "measurements.md").read_text()
    record = json.loads((ROOT / "results" / name / "kernels.json").read_text())
    for quantity, digits in (("colour_saturation", 4), ("orientation_energy", 3)):
        measured = record[quantity]
        for column in ("column_1", "column_2"):
            assert f"{statistics.mean(measured[column]):.3f}" in text
        assert f"{measured['p_value']:.{digits}f}" in text


@pytest.mark.parametrize("name", ["retrieval_imagenette", "retrieval_cifar10"])
def test_retrieval_is_shown_as_recorded(name: str) -> None:
    text = (ROOT / "results" / "measurements.md").read_text()
    record = json.loads((ROOT / "results" / name / "retrieval.json").read_text())
    assert record["command"] in text
    together: dict[tuple[str, int], list[dict[str, float]]] = {}
    for way in record["ways"]:
        together.setdefault((way["name"], way["bits"]), []).append(way)
    measures = ("precision_at_1", "precision_at_10", "precision_at_100", "mean_average_precision")
    for (way_name, bits), ways in together.items():
        means = (f"{statistics.mean(way[m] for way in ways):.1f}" for m in measures)
        assert f"| {way_name} | {bits:,} | {' | '.join(means)} |" in text


RELU_SPEED = ROOT / "results" / "relu_speed"
NAMES = {"relu": "ReLU", "tanh": "tanh"}


def test_figure_1_is_shown_as_recorded() -> None:
    text = (ROOT / "results" / "measurements.md").read_text()
    reached: dict[str, list[int]] = {"relu": [], "tanh": []}
    for path in RELU_SPEED.glob("*/result.json"):
        record = json.loads(path.read_text())
        activation = record["config"]["model"]["activation"]
        row = next(row for row in record["curve"] if row["train/top1_error"] <= 25)
        reached[activation].append(row["epoch"])
        shown = f"{NAMES[activation]} | {record['seed']} | {row['epoch']} | {row['seconds']:,.0f}"
        assert f"| {shown} |" in text
    assert len(reached["relu"]) == 3
    if reached["tanh"]:
        ratio = statistics.mean(reached["tanh"]) / statistics.mean(reached["relu"])
        assert f"{ratio:.1f} times as many epochs" in " ".join(text.split())


def test_the_learning_rates_of_figure_1_are_those_that_were_tried() -> None:
    text = (ROOT / "results" / "measurements.md").read_text()
    tried = json.loads((RELU_SPEED / "learning_rates.json").read_text())["runs"]
    least: dict[str, tuple[float, float]] = {}
    for run in tried:
        activation, rate, last = run["activation"], run["lr"], run["curve"][-1]
        error = last["train/top1_error"]
        assert f"| {NAMES[activation]} | {rate:g} | {last['epoch']} | {error:.1f} |" in text
        least[activation] = min(least.get(activation, (100.0, 0.0)), (error, rate))
    for activation, experiment in (("relu", "relu_speed"), ("tanh", "relu_speed_tanh")):
        chosen = composed("train", f"experiment={experiment}").optimizer.lr
        assert chosen == least[activation][1]


EVIDENCE = ROOT / "results" / "evidence"


Record = dict[str, Any]


@functools.cache
def by_seed(folder: Path) -> dict[str, dict[int, Record]]:
    """The records of a folder, by the name of what was trained and the seed."""
    found: dict[str, dict[int, Record]] = {}
    for path in folder.glob("*/result.json"):
        name, _, seed = path.parent.name.rpartition("_seed")
        found.setdefault(name, {})[int(seed)] = json.loads(path.read_text())
    return {name: dict(sorted(runs.items())) for name, runs in found.items()}


def ten_crops(record: Record) -> float:
    return float(record["errors"]["ten"]["top1"])


def training(record: Record) -> float:
    return float(record["training_errors"]["centre"]["top1"])


def gap(record: Record) -> float:
    return float(record["errors"]["centre"]["top1"]) - training(record)


def beside_the_baseline(
    name: str, figure: Callable[[Record], float]
) -> tuple[list[float], list[float]]:
    """A figure of the evidence on ``name``, and of the baseline with the same seeds."""
    records = by_seed(EVIDENCE)
    seeds = [seed for seed in records[name] if seed in records["alexnet"]]
    one, other = ([figure(records[of][seed]) for seed in seeds] for of in (name, "alexnet"))
    return one, other


def test_the_ablations_of_a_network_that_overfits_are_shown_as_recorded() -> None:
    text = (ROOT / "results" / "measurements.md").read_text()

    def apart(figure: Callable[[Record], float], name: str) -> str:
        if name == "alexnet":
            return ""
        one, other = beside_the_baseline(name, figure)
        if len(one) == 1:
            return f"{number(one[0] - other[0], sign=True)} (one seed)"
        shown = (number(figure, sign=True) for figure in paired(one, other))
        return "{} ({} to {})".format(*shown)

    records = by_seed(EVIDENCE)
    for name, runs in records.items():
        cells = [", ".join(number(ten_crops(run)) for run in runs.values())]
        cells += [apart(ten_crops, name)]
        cells += [number(statistics.mean(map(f, runs.values()))) for f in (training, gap)]
        cells += [apart(gap, name)]
        assert f" | {' | '.join(cells)} |".replace("  |", " |") in text, name
    errors = [record["errors"] for record in records["alexnet"].values()]
    fewer = [[one[crops]["top1"] for one in errors] for crops in ("centre", "ten")]
    shown = "{} points ({} to {})".format(*map(number, paired(*fewer)))
    assert f"**Ten crops** lower the top-1 error by {shown}" in text


def test_the_retrieval_of_these_networks_is_shown_as_recorded() -> None:
    text = " ".join((ROOT / "results" / "measurements.md").read_text().split())
    records = [json.loads(p.read_text()) for p in sorted(EVIDENCE.glob("*/retrieval.json"))]
    assert len(records) == 3

    def precision(name: str, bits: int | None = None) -> list[float]:
        return [
            statistics.mean(
                way["mean_average_precision"]
                for way in record["ways"]
                if way["name"] == name and bits in (None, way["bits"])
            )
            for record in records
        ]

    for found, kind in ((precision("fc7"), "is"), (precision("autoencoder", 128), "128 bits")):
        shown = "{} points higher ({} to {})" if kind == "is" else "{} ({} to {})"
        figures = map(number, paired(found, precision("pixels")))
        assert f"{kind} {shown.format(*figures)}" in text


ABLATIONS = ROOT / "results" / "imagenette_ablations"
ADDS = ("no_lrn", "nonoverlapping_pooling", "one_gpu", "no_colour_pca", "no_crops", "tanh")
"""What adds to the test error, according to the paper."""


def paired(one: list[float], other: list[float]) -> tuple[float, float, float]:
    """The mean difference and its 95 % interval."""
    apart = [a - b for a, b in zip(one, other, strict=True)]
    interval = stats.ttest_1samp(apart, 0).confidence_interval(0.95)
    return statistics.mean(apart), float(interval.low), float(interval.high)


CHANCE = 90
"""Percent of the ten classes."""


def test_the_ablations_are_shown_as_recorded() -> None:
    text = (ROOT / "results" / "measurements.md").read_text()
    records = by_seed(ABLATIONS)
    assert {name.removeprefix("ablation_") for name in records} >= {"alexnet", *ADDS}

    def all_of(name: str, crops: str) -> list[float]:
        return [record["errors"][crops]["top1"] for record in records[name].values()]

    def last_training(name: str) -> list[float]:
        return [record["curve"][-1]["train/top1_error"] for record in records[name].values()]

    for name in records:
        assert len(records[name]) == 3
        cells = [number(statistics.mean(all_of(name, crops))) for crops in ("centre", "ten")]
        cells += [", ".join(number(error) for error in all_of(name, "ten"))]
        if name != "alexnet":
            mean, low, high = paired(all_of(name, "ten"), all_of("alexnet", "ten"))
            seen = "yes" if low > 0 else "no" if high < 0 else "not resolved"
            shown = (number(figure, sign=True) for figure in (mean, low, high))
            tens = [record["errors"]["ten"] for record in records[name].values()]
            stuck = sum(ten["top1_interval"][1] >= CHANCE for ten in tens)
            if stuck:
                cells += [f"not comparable: {stuck} of 3 stayed at chance", "–"]
            else:
                cells += ["{} ({} to {})".format(*shown), seen if expected(name) else "–"]
        else:
            cells += ["", ""]
        gaps = [a - b for a, b in zip(all_of(name, "centre"), last_training(name), strict=True)]
        cells += [number(statistics.mean(last_training(name)))]
        cells += [number(statistics.mean(gaps), sign=True)]
        assert f" | {' | '.join(cells)} |".replace("  |", " |") in text, name


def expected(name: str) -> bool:
    """Whether the paper says that this adds to the test error."""
    return name in ADDS or name.startswith("remove_conv")


def test_the_ablations_ran_with_equal_settings() -> None:
    records = by_seed(ABLATIONS)
    seeds = {frozenset(of_seed) for of_seed in records.values()}
    assert len(seeds) == 1
    budgets = {
        (record["epochs"], record["config"]["optimizer"]["lr"], record["commit"])
        for of_seed in records.values()
        for record in of_seed.values()
    }
    assert len(budgets) == 1


@pytest.mark.parametrize("folder", [EVIDENCE, ABLATIONS], ids=lambda folder: folder.name)
def test_the_ensemble_of_the_baselines_is_shown_as_recorded(folder: Path) -> None:
    text = (ROOT / "results" / "measurements.md").read_text()
    together = json.loads((folder / "ensemble" / "evaluation.json").read_text())
    alone = [record["errors"]["ten"] for record in by_seed(folder)["alexnet"].values()]
    assert len(together["checkpoints"]) == len(alone)
    for top in ("top1", "top5"):
        mean = statistics.mean(errors[top] for errors in alone)
        assert f"{mean:.1f} → {together['errors']['ten'][top]:.1f}" in text


LRN_CIFAR = ROOT / "results" / "lrn_cifar"


def test_the_networks_of_the_2012_program_are_shown_as_recorded() -> None:
    text = (ROOT / "results" / "measurements.md").read_text()
    found = sorted(LRN_CIFAR.glob("*/result.json"))
    assert len(found) >= 10
    for path in found:
        record = json.loads(path.read_text())
        errors = record["errors"]
        cells = [record["seed"], record["epochs"], number(record["curve"][-1]["train/top1_error"])]
        cells += [number(errors["centre"]["top1"]), number(errors["ten"]["top1"])]
        assert f" | {' | '.join(map(str, cells))} |" in text, path.parent.name


BENCHMARKS = sorted((ROOT / "results" / "benchmarks").glob("*.json"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_says_where_it_comes_from(path: Path) -> None:
    record = json.loads(path.read_text())
    programs = ("python benchmarks/", "python -m alexnet_repro.benchmark benchmark=")
    assert record["command"].startswith(programs)
    assert len(record["commit"].removesuffix("+changes")) == 40
    assert record["machine"]["processor"]
    assert record["threads"]
    assert record["command"] in (ROOT / "results" / "measurements.md").read_text()


def test_the_data_benchmark_is_shown_as_recorded() -> None:
    text = (ROOT / "docs" / "scaling.md").read_text()
    record = committed("benchmarks/data.json")
    preparing, reading, _ = record["tables"]
    for row in (*preparing["rows"], *reading["rows"]):
        assert f"{round(row['per_second']):,}" in text, row["name"]


def test_the_columns_benchmark_is_shown_as_recorded() -> None:
    text = (ROOT / "docs" / "columns.md").read_text()
    record = committed("benchmarks/columns.json")
    exact, exchange, fast, fast_exchange = record["tables"]
    for rows in zip(exact["rows"], fast["rows"], strict=True):
        assert " | ".join(f"{row['milliseconds']:,.0f}" for row in rows) in text, rows[0]["name"]
    for rows in zip(exchange["rows"], fast_exchange["rows"], strict=True):
        shown = " | ".join(
            f"{row['exchange_ms']:.0f} | {100 * row['hidden_share']:.0f} %" for row in rows
        )
        assert shown in text, rows[0]
    for table in (exact, fast):
        for fact, value in table["facts"].items():
            if "times as fast" in fact:
                assert f"{value:.2f}" in text


def test_what_the_exchange_costs_is_shown_as_recorded() -> None:
    text = " ".join((ROOT / "docs" / "columns.md").read_text().split())
    record = committed("benchmarks/columns.json")
    for table in (record["tables"][1], record["tables"][3]):
        seen: dict[int, float] = {}
        for row in table["rows"]:
            left = row["exchange_ms"] - row["hidden_ms"]
            seen[row["micro_batches"]] = seen.get(row["micro_batches"], 0) + left
        one, two, four = (f"{seen[parts]:.0f}" for parts in (1, 2, 4))
        assert f"{one}, {two} and {four} ms" in text


def test_the_committed_report_is_what_the_command_makes_of_the_committed_records(
    tmp_path: Path,
) -> None:
    """Otherwise: ``python -m alexnet_repro.report results --output results``."""
    write_report(ROOT / "results", tmp_path)
    records_at = os.path.relpath(ROOT / "results", tmp_path)
    # Where a line of a drawing lies, another version of matplotlib may say otherwise.
    for path in tmp_path.iterdir():
        made, committed = (
            re.sub("<svg.*?</svg>", "<svg>", file.read_text(), flags=re.DOTALL)
            for file in (path, ROOT / "results" / path.name)
        )
        made = made.replace(f'href="{records_at}/', 'href="./')
        assert made == committed, path.name
    others = {path.name for path in (ROOT / "results").iterdir() if path.is_file()}
    assert others == {path.name for path in tmp_path.iterdir()} | {"measurements.md"}


def test_the_page_on_claims_shows_an_entry_as_it_is() -> None:
    page = (ROOT / "docs" / "claims.md").read_text()
    (entry,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert entry in (ROOT / "conf" / "claims.yaml").read_text()


README = " ".join((ROOT / "README.md").read_text().split())


def committed(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((ROOT / "results" / name).read_text())
    return record


def test_the_readme_is_short_and_every_file_that_it_names_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= 9_000
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, heading = target.partition("#")
        if not target.startswith("https:"):
            assert (ROOT / path).exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)", (ROOT / path).read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert heading in anchors, target


def test_the_readme_shows_the_error_of_the_network_that_comes_along_as_recorded() -> None:
    record = committed("imagenette/evaluation.json")
    error, images = record["errors"]["centre"]["top1"], record["images"]
    assert f"wrong on {error:.1f} % of {images:,} held-out photographs" in README


def test_the_readme_shows_the_speed_of_relu_as_recorded() -> None:
    reached: dict[str, dict[int, int]] = {"relu": {}, "tanh": {}}
    for path in RELU_SPEED.glob("*/result.json"):
        record = json.loads(path.read_text())
        epochs = next(row["epoch"] for row in record["curve"] if row["train/top1_error"] <= 25)
        reached[record["config"]["model"]["activation"]][record["seed"]] = epochs
    ratios = [reached["tanh"][seed] / reached["relu"][seed] for seed in (1, 2, 3)]
    low, high = stats.ttest_1samp(ratios, 0).confidence_interval(0.95)
    shown = (
        f"**{statistics.mean(ratios):.1f} ×** (95 % interval {low:.1f} to {high:.1f}; three seeds"
    )
    assert shown in README


def test_the_readme_shows_how_the_columns_differ_as_recorded() -> None:
    first, second = (committed(f"imagenette_alexnet{of}/kernels.json") for of in ("", "_seed2"))
    saturation = first["colour_saturation"]
    means = [statistics.mean(saturation[f"column_{number}"]) for number in (2, 1)]
    assert means[0] > means[1]
    p = first["colour_saturation"]["p_value"], second["colour_saturation"]["p_value"]
    assert f"**{means[0]:.2f} and {means[1]:.2f}**, p = {p[0]:.4f}; with a second" in README
    assert f"seed p = {p[1]:.3f}, the other way round" in README
    other = second["colour_saturation"]
    assert statistics.mean(other["column_1"]) > statistics.mean(other["column_2"])


def test_the_readme_shows_what_two_columns_do_as_recorded() -> None:
    one_gpu, two_columns = beside_the_baseline("one_gpu", ten_crops)
    mean, low, high = paired(one_gpu, two_columns)
    shown = f"**{mean:.1f} points** ({low:.1f} to {high:.1f}; {COUNTS[len(one_gpu)]} seeds each"
    assert shown in README


def test_the_readme_shows_what_ten_crops_do_as_recorded() -> None:
    errors = [record["errors"] for record in by_seed(EVIDENCE)["alexnet"].values()]
    one, ten = ([error[crops]["top1"] for error in errors] for crops in ("centre", "ten"))
    _, low, high = paired(one, ten)
    assert (
        f"**{statistics.mean(one):.1f} → {statistics.mean(ten):.1f} %** (difference {low:.1f} to "
        f"{high:.1f} points; {COUNTS[len(errors)]} seeds, ten classes)" in README
    )


def test_the_readme_shows_what_is_overfitted_without_crops_as_recorded() -> None:
    without, with_crops = beside_the_baseline("no_crops", gap)
    _, low, high = paired(without, with_crops)
    assert (
        f"**{statistics.mean(without):.1f} against {statistics.mean(with_crops):.1f} points** "
        f"(difference {low:.1f} to {high:.1f}; {COUNTS[len(without)]} seeds each)" in README
    )


def test_the_readme_shows_what_retrieval_finds_as_recorded() -> None:
    records = [json.loads(path.read_text()) for path in EVIDENCE.glob("*/retrieval.json")]
    found = {
        name: statistics.mean(
            way["precision_at_10"] for of in records for way in of["ways"] if way["name"] == name
        )
        for name in ("fc7", "pixels")
    }
    shown = f"**{found['fc7']:.0f} %**, by pixels {found['pixels']:.0f} %, by chance"
    told = f"{shown} {records[0]['chance']:.0f} %; {COUNTS[len(records)]} networks"
    assert told in README


COUNTS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


def test_the_readme_shows_the_speed_of_a_step_as_recorded() -> None:
    facts = committed("benchmarks/step.json")["tables"][0]["facts"]
    fast, kept, tuned = (
        facts[f"fast, times as fast as plain{how}"] for how in ("", " (memory kept)", ", tuned")
    )
    exact = facts["exact, times as fast as plain"]
    shown = f"**{fast:.1f} ×** as fast in bfloat16 ({kept:.1f} × if both keep freed memory; "
    assert f"{shown}{tuned:.1f} × a tuned one), {exact:.1f} × in 32 bit" in README


def test_every_ablation_learns_in_the_short_regimes_with_every_seed() -> None:
    record = committed("reliability/ablations_learn.json")
    learned = {
        (run["regime"], run["experiment"], run["seed"])
        for run in record["runs"]
        if run["val_top1"] < 60 < CHANCE
    }
    ablations = sorted(path.stem for path in (CONF / "experiment").glob("ablation_*.yaml"))
    assert learned == {*product(("demo", "small"), ("alexnet", *ablations), range(5))}
    text = " ".join((ROOT / "results" / "measurements.md").read_text().split())
    for regime in ("demo", "small"):
        epochs = [run["epochs"] for run in record["runs"] if run["regime"] == regime]
        assert f"{min(epochs)} to {max(epochs)} epochs of `{regime}`" in text


CNN_STAR = ROOT / "results" / "cnn_star"


def test_fine_tuning_is_shown_as_recorded() -> None:
    text = (ROOT / "results" / "measurements.md").read_text()
    records = {
        path.parent.name: json.loads(path.read_text()) for path in CNN_STAR.glob("*/result.json")
    }
    pairs = []
    seeds = sorted(record["seed"] for name, record in records.items() if "finetune" in name)
    assert len(seeds) >= 2
    for seed in seeds:
        tuned, scratch = (records[f"{name}_seed{seed}"] for name in ("finetune", "from_scratch"))
        assert scratch["seed"] == seed
        assert tuned["init_from_sha256"] is not None
        assert scratch["init_from_sha256"] is None
        assert tuned["dataset"] == scratch["dataset"] != records["pretrain"]["dataset"]
        one, other = (record["errors"]["ten"]["top1"] for record in (tuned, scratch))
        assert f"| {seed} | {one:.1f} | {other:.1f} | −{other - one:.1f} |" in text
        pairs.append(one - other)
    interval = stats.ttest_1samp(pairs, 0).confidence_interval(0.95)
    mean, low, high = (
        number(x, sign=True) for x in (sum(pairs) / len(pairs), interval.low, interval.high)
    )
    assert f"{mean} points (95 % interval {low} to {high}; {len(seeds)} seeds" in text
    assert result_line(records["pretrain"]) in text


@pytest.mark.parametrize("name", ["step", "startup"])
def test_the_page_on_performance_shows_its_records(name: str) -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    for table in committed(f"benchmarks/{name}.json")["tables"]:
        for row in table["rows"]:
            if "milliseconds" in row:
                assert f"| {row['name']} | {row['milliseconds']:,.0f} |" in text, row
            else:
                assert f"| {' | '.join(map(str, row.values()))} |" in text


def test_the_page_on_performance_shows_how_a_step_compares() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    steps, roof, *_, command = committed("benchmarks/step.json")["tables"]
    (share,) = command["facts"].values()
    facts = {**steps["facts"], **roof["facts"]}
    for fact, value in facts.items():
        if fact != "ratio to":
            assert str(value) in text, fact
    assert f"{100 * share:.1f}" in text


def reliability(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((ROOT / "results" / "reliability" / name).read_text())
    assert len(record["commit"]) == 40
    assert record["command"].startswith(("python tests/soak/", "python -m tests.soak."))
    return record


def test_the_page_on_reliability_says_what_its_records_say() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    record = reliability("kills.json")
    kills, writing = record["kills"], [k for k in record["kills"] if k["partial_bytes"] is not None]
    assert len(kills) >= 30
    assert record["differences"] == []
    assert f"{len(kills)} SIGKILLs, {len(writing)} of them while a checkpoint" in page
    counted = reliability("kills_launched.json")["counted"]
    assert f"{counted['kills']} SIGKILLs of a column, of both or of who started them" in page
    assert {counted[name] for name in ("hangs", "orphans", "runs_with_other_weights")} == {0}
    record = reliability("leaks.json")
    grown = record["growth"]
    assert f"{record['steps']:,} steps in {len(record['epochs'])} epochs" in page
    assert f"{grown['bytes'] / 1e6:.1f} MB more in the last ones, nothing else" in page
    assert {grown[name] for name in ("files", "threads", "processes")} == {0}
    for name, row in reliability("last_bits.json")["variations"].items():
        difference = "none" if row["equal"] else f"{row['largest_difference']:.0e}"
        assert f"| {name} | " in page
        (line,) = (line for line in page.splitlines() if line.startswith(f"| {name} |"))
        assert line.endswith(f"| {difference} |")
