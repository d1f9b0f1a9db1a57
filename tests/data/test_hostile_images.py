"""Thousands of damaged images and some that mean harm: each is named, and nothing else happens."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.prepare import prepare
from alexnet_repro.data.sources import folder
from alexnet_repro.data.store import StoredAs, open_store

from .hostile_images import bombs, mutated

MUTATED = 2000
MEMORY = 700 * 2**20
"""Bytes that reading one image may take: Pillow refuses more than 179 million pixels."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set whose training images are damaged, but for one in each class."""
    top = tmp_path_factory.mktemp("hostile")
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (top / split / name).mkdir(parents=True)
            Image.new("RGB", (20, 20), (9, 9, 9)).save(top / split / name / "whole.png")
    for number, (name, content) in enumerate(mutated(MUTATED)):
        (top / "train" / ("cat", "dog")[number % 2] / name).write_bytes(content)
    for name, content in bombs().items():
        (top / "train" / "cat" / f"bomb-{name}").write_bytes(content)
    return top


def files(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*")}


def test_preparing_names_every_image_that_it_cannot_read(hostile: Path, tmp_path: Path) -> None:
    source, before = folder(str(hostile)), files(hostile)
    with pytest.raises(UsageError, match="images cannot be read: train/") as told:
        prepare(source, StoredAs(16), tmp_path / "refused")
    assert "\n" not in str(told.value)
    store = open_store(prepare(source, StoredAs(16), tmp_path / "store", max_damaged=MUTATED + 20))
    named = (tmp_path / "store" / "damaged.txt").read_text().splitlines()
    train = store.splits["train"]
    stored = {train.name(i) for i in range(len(train))}
    left_out = {line.split(" (")[0] for line in named}
    assert len(left_out) == len(named) > MUTATED / 4
    assert stored | left_out == set(source.splits["train"].names)
    assert not stored & left_out
    assert {f"train/cat/bomb-{name}" for name in bombs()} - left_out == set()
    assert files(hostile) == before
    assert {path.name for path in tmp_path.iterdir()} - {".store.lock", ".refused.lock"} == {
        "store", "refused.unfinished",
    }  # fmt: skip
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert children < own + MEMORY


def test_predict_and_serve_read_each_of_them_or_say_why_not(hostile: Path) -> None:
    program = Path(__file__).with_name("hostile_images.py")
    done = subprocess.run(
        [sys.executable, str(program), str(hostile / "train")],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    counts = json.loads(done.stdout)
    total = len([path for path in (hostile / "train").rglob("*") if path.is_file()])
    assert counts["read"] + counts["damaged"] == total > MUTATED
    assert counts["uploaded"] + counts["refused"] == total
    assert counts["damaged"] > MUTATED / 4
    assert counts["many_lines"] == 0
    assert counts["bytes"] < MEMORY


def test_postscript_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alexnet_repro.analysis.images import Damaged, read_image

    # Pillow would have Ghostscript run the file, whatever its name.
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/run\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.jpg", "EPS")
    read = read_image(tmp_path / "photo.jpg", 16)
    assert isinstance(read, Damaged)
    assert "PostScript" in read.reason
    assert not (tmp_path / "run").exists()
