"""The notebooks run from top to bottom on a small run, and their committed outputs fit."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

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
