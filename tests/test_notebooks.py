"""The notebooks run from top to bottom on a small run, and their committed outputs fit."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from alexnet_repro.training.record import result_line

RESULTS = Path(__file__).parents[1] / "results"
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
LARGEST = 300_000
"""Bytes of a committed notebook."""


def test_there_are_four() -> None:
    assert len(NOTEBOOKS) == 4


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_where_there_is_a_run_of_the_demo(
    path: Path, tiny_run: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_run, tmp_path / "runs" / "demo" / "2012-09-30_00-00-00")
    monkeypatch.setenv("ALEXNET_REPRO_CACHE", str(cache))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    assert sum(len(cell.get("outputs", [])) > 0 for cell in notebook.cells) > 2


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
