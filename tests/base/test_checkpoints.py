"""What ``--checkpoint`` and ``checkpoint=`` may name."""

import os
from pathlib import Path

import pytest

from alexnet_repro.base import checkpoints
from alexnet_repro.base.checkpoints import WEIGHTS, find_checkpoint
from alexnet_repro.base.errors import UsageError


def saved(run: Path, age: float, name: str = "last.ckpt") -> Path:
    """A checkpoint of a run, so many seconds old."""
    path = run / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_a_folder_of_runs_means_the_last_checkpoint_of_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    older = saved(Path("runs/alexnet/first"), age=9)
    newer = saved(Path("runs/demo/second"), age=5)
    saved(Path("runs/demo/second"), age=5, name="before_last.ckpt")
    saved(Path("runs/demo/second"), age=1, name="best.ckpt")
    assert find_checkpoint("runs/alexnet/first") == older
    assert find_checkpoint("runs/demo") == find_checkpoint("runs") == newer
    assert find_checkpoint("last") == newer
    torn = saved(Path("runs/torn"), age=0, name="before_last.ckpt")
    assert find_checkpoint("last") == torn
    assert find_checkpoint(str(older)) == older


def test_the_folder_of_an_export_means_its_weights(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).touch()
    assert find_checkpoint(str(tmp_path)) == tmp_path / WEIGHTS


def test_the_network_that_comes_along_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenette").mkdir()  # photographs, as a user may have them
    found = find_checkpoint("imagenette")
    assert found.is_file()
    assert found.stat().st_size < 10e6


def test_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "imagenette" / WEIGHTS)
    (tmp_path / "empty").mkdir()
    for given, told in [
        ("no.ckpt", "no.ckpt: there is no such checkpoint; give a .ckpt file, the folder of"),
        ("last", "last: there is no folder runs here"),
        ("empty", "empty: no run in empty has saved checkpoints/last.ckpt"),
        ("imagenette", "imagenette: this network comes with a checkout"),
    ]:
        with pytest.raises(UsageError) as mistake:
            find_checkpoint(given)
        assert str(mistake.value).startswith(told)
