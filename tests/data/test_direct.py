"""What is written past the page cache is what lies in the file."""

import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xxhash

from alexnet_repro.data.direct import BUFFER, BUFFERS, DirectFile


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("size", [0, 1, 4096, BUFFER, 2 * BUFFER + 5000, (BUFFERS + 2) * BUFFER])
def test_a_file_holds_what_was_written_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool, size: int
) -> None:
    if not direct:
        _refuse_direct(monkeypatch)
    content = np.random.default_rng(size).bytes(size)
    file = DirectFile(tmp_path / "file")
    for start, end in pairwise(sorted({0, size // 7, size // 3, size})):
        assert file.write(content[start:end]) == end - start
        assert file.tell() == end
    file.close()
    file.close()
    assert (tmp_path / "file").read_bytes() == content
    assert file.checksum == xxhash.xxh3_128(content).hexdigest()


def _refuse_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """As file systems in memory do."""
    opened = os.open

    def refuse(path: Path, flags: int, mode: int) -> int:
        if flags & getattr(os, "O_DIRECT", 0):
            raise OSError(22, "Invalid argument")
        return opened(path, flags, mode)

    monkeypatch.setattr("alexnet_repro.data.direct.os.open", refuse)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_is_told_at_the_latest_when_closing() -> None:
    file = DirectFile(Path("/dev/full"))
    file.write(b"x")
    with pytest.raises(OSError, match="No space left"):
        file.close()
    assert file.closed
