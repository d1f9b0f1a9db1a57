"""``make demo`` begins as recorded, the notebooks run on what it leaves, and their outputs fit."""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from alexnet_repro.training.record import result_line

from .forks import Forks

RESULTS = Path(__file__).parents[1] / "results"
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LARGEST = 300_000
"""Bytes of a committed notebook."""
ABLATIONS = {"alexnet", "ablation_tanh", "ablation_no_lrn"}
"""The networks of the third."""


def test_there_are_four() -> None:
    assert len(NOTEBOOKS) == 4


@pytest.fixture(scope="module")
def demo(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what ``make demo`` leaves, after the first of its epochs."""
    folder = tmp_path_factory.mktemp("demo")
    demo = ("-m", "alexnet_repro.train", "experiment=demo", "schedule.epochs=1")
    forks.run(*demo, cwd=folder).check_returncode()
    return folder


@pytest.mark.long
def test_the_demo_begins_as_recorded_and_the_notebooks_run_on_what_it_leaves(
    demo: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_it_begins_as_the_committed_record_says(demo)
    monkeypatch.setenv("ALEXNET_REPRO_CACHE", str(cache))
    resources = {"metadata": {"path": str(demo)}}
    for path in NOTEBOOKS:
        notebook = shorter(nbformat.read(path, as_version=4))
        NotebookClient(notebook, timeout=3600, kernel_name="python3", resources=resources).execute()
        assert sum(len(cell.get("outputs", [])) > 0 for cell in notebook.cells) > 2, path
        if path.stem == "3_ablations":
            assert errors_after_training(notebook).keys() == ABLATIONS


def shorter(notebook: Any) -> Any:
    """The same cells with a few steps: what four epochs teach, the committed outputs show."""
    few = [f"trainer.limit_{part}_batches=2" for part in ("train", "val", "test")]
    shortly = " ".join(["schedule.epochs=1", *few])
    for cell in notebook.cells:
        cell.source = cell.source.replace("schedule.epochs=4", shortly)
    return notebook


def assert_it_begins_as_the_committed_record_says(demo: Path) -> None:
    """Otherwise: ``make demo``, and put the record into ``results/demo``.

    Other processors and another order of sums change the last bits, and they grow: where the
    network leaves chance, up to 0.025 of the validation loss was seen. Another start or rate is
    0.5 of the training loss.
    """
    committed = json.loads((RESULTS / "demo" / "result.json").read_text())["curve"][0]
    (result,) = demo.glob("runs/demo/*/result.json")
    first = json.loads(result.read_text())["curve"][0]
    assert first["train/loss"] == pytest.approx(committed["train/loss"], abs=0.03)
    assert first["val/loss"] == pytest.approx(committed["val/loss"], abs=0.06)


def test_in_the_committed_notebook_about_ablations_every_network_has_learned() -> None:
    notebook = nbformat.read(NOTEBOOKS[2], as_version=4)
    assert any("schedule.epochs=4" in cell.source for cell in notebook.cells)
    errors = errors_after_training(notebook)
    assert errors.keys() == ABLATIONS
    assert all(error < 60 for error in errors.values()), "chance is 90 %"


def errors_after_training(notebook: Any) -> dict[str, float]:
    """Of the three networks of the notebook about ablations, in percent."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    (table,) = [o.data["text/markdown"] for o in outputs if "text/markdown" in o.get("data", {})]
    found = re.findall(r"\| (alexnet|ablation\S+) \| 0[ (\w)]* \| ([\d.]+) \|", table)
    return {name.replace("\\", ""): float(error) for name, error in found}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_one_learns_and_is_committed_without_errors_or_paths(
    path: Path,
) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert "**What you will learn:**" in notebook.cells[0].source
    assert path.stat().st_size < LARGEST
    texts = [
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type != "error"
    ]
    assert not any(
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    )
    assert not re.search(r"/(home|root|tmp|work|Users)/", "".join(texts))


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS[1:], ids=lambda path: path.stem)
def test_a_notebook_without_a_run_says_what_to_type(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    with pytest.raises(CellExecutionError) as told:
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    assert told.value.ename == "FileNotFoundError"
    assert "type `make demo` in the repository" in told.value.evalue


def test_the_notebook_about_the_demo_shows_the_committed_run() -> None:
    """Otherwise: ``make demo``, then run the notebooks."""
    record = json.loads((RESULTS / "demo" / "result.json").read_text())
    shown = nbformat.read(NOTEBOOKS[3], as_version=4).cells[1].outputs[0].text
    assert " ".join(shown.split()).startswith(result_line(record))
