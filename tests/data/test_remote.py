"""A store in object storage is copied once, and checked. Here a URI of files stands for it."""

from pathlib import Path

import numpy as np
import pytest

from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.prepare import cached
from alexnet_repro.data.remote import local_copy
from alexnet_repro.data.sources import folder
from alexnet_repro.data.store import Store, StoredAs, open_store


@pytest.fixture
def stored(root: Path, tmp_path: Path) -> Store:
    return cached(folder(str(root)), StoredAs(16), tmp_path / "bucket", "pets")


def test_a_store_is_copied_once(stored: Store, cache: Path) -> None:
    uri = stored.directory.as_uri()
    copy = local_copy(uri, cache)
    assert copy.parent == cache
    for there, here in zip(
        stored.splits["train"].images(), open_store(copy).splits["train"].images(), strict=True
    ):
        assert np.array_equal(there, here)
    for path in stored.directory.iterdir():
        path.unlink()
    assert local_copy(uri, cache) == copy


def test_a_store_that_changed_on_the_way_is_refused(stored: Store, cache: Path) -> None:
    path = stored.directory / "train-00000.arrow"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"1 of 5 files differ .* train-00000\.arrow"):
        local_copy(stored.directory.as_uri(), cache)
    assert [p for p in cache.iterdir() if p.is_dir() and p.suffix != ".copying"] == []


@pytest.mark.parametrize("uri", ["file:///nowhere/store", "nosuch://bucket/store"])
def test_what_cannot_be_reached_is_named(uri: str, cache: Path) -> None:
    with pytest.raises(UsageError) as refused:
        local_copy(uri, cache)
    assert str(refused.value).startswith(f"data.directory={uri}: cannot be copied (")
    assert "\n" not in str(refused.value)


def test_too_little_disk_is_told(
    stored: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NearlyFull:
        free = 10

    monkeypatch.setattr("alexnet_repro.base.files.shutil.disk_usage", lambda path: NearlyFull)
    with pytest.raises(UsageError, match=r"copying file:.* takes .* kB, 10 bytes are free"):
        local_copy(stored.directory.as_uri(), cache)
