"""A store that changed since it was written is told, file by file."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.prepare import cached
from alexnet_repro.data.sources import folder
from alexnet_repro.data.store import Store, StoredAs, verify


@pytest.fixture(params=["raw", "jpeg"])
def store(request: pytest.FixtureRequest, root: Path, cache: Path) -> Store:
    quality = 95 if request.param == "jpeg" else None
    return cached(folder(str(root)), StoredAs(16, request.param, quality), cache, "pets")


def _flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def test_a_store_as_it_was_written_passes(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        verify(store.directory)
    assert "all 5 files are as they were written" in caplog.text


@pytest.mark.parametrize(
    "file", ["train-00000.arrow", "val-00000.arrow", "val-labels.npy", "mean_image.npy"]
)
def test_one_bit_is_noticed(store: Store, file: str) -> None:
    # Beyond the header, where no reader would stumble over it.
    _flip(
        store.directory / file, {"train-00000.arrow": 3000, "val-labels.npy": 128}.get(file, 1000)
    )
    with pytest.raises(UsageError, match=rf"1 of 5 files differ from their checksum: {file};"):
        verify(store.directory)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "val-00000.arrow").unlink(), "damaged"),
        (lambda d: (d / "manifest.json").write_text("{"), "damaged"),
    ],
)
def test_a_broken_store_is_told(store: Store, damage: Callable[[Path], None], message: str) -> None:
    damage(store.directory)
    with pytest.raises(UsageError, match=message):
        verify(store.directory)


def test_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"output=.*nowhere: there is no such store"):
        verify(tmp_path / "nowhere")
