"""Commands, run in this process: torch takes seconds to import."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet_repro import convert as converting
from alexnet_repro import export as exporting

from .caffe_writer import alexnet, caffemodel

Run = Callable[..., None]


@pytest.fixture
def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What ``alexnet convert`` does with these arguments, in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: converting.commands(arguments, standalone_mode=False)


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Run:
    """What ``alexnet export`` does with these arguments, in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEXNET_REPRO_CACHE", str(cache))
    return lambda *arguments: exporting.commands([*map(str, arguments)], standalone_mode=False)


@pytest.fixture(scope="session")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a narrow CaffeNet of three classes, with weights that move its logits."""
    folder = tmp_path_factory.mktemp("strong")
    layers = alexnet(np.random.default_rng(0), pool_first=True, width=0.125, classes=3)
    (folder / "net.caffemodel").write_bytes(caffemodel(layers))
    (folder / "classes.txt").write_text("apple\ta fruit\nbanana\ncherry\n")
    names = [str(folder / name) for name in ("net.caffemodel", "net.ckpt", "classes.txt")]
    converting.commands(["caffe", *names[:2], "--classes", names[2]], standalone_mode=False)
    return folder / "net.ckpt"
