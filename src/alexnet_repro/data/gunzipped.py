"""What is in a gzip file, read from any place: a ``.tar.gz`` need not be unpacked."""

import io
import os
import zlib
from bisect import bisect_right
from operator import itemgetter
from pathlib import Path
from typing import Any

STEP = 2**26
"""Bytes between states of the decompression that are kept."""
CHUNK = 2**16


class Gunzipped(io.RawIOBase):
    """The contents of a gzip file, which can be read anew wherever they have been read before.

    Going back costs the decompression of up to ``STEP`` bytes. Forked processes share what is kept,
    about 80 KB each.

    Raises:
        EOFError, zlib.error: in reading a file that breaks off or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self._kept = [(0, 0, zlib.decompressobj(zlib.MAX_WBITS | 16))]
        self._at = 0
        self._go_to(*self._kept[0])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """It stays open: what is kept is for all who read the file."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (self._at if whence == os.SEEK_CUR else 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        nearest = self._kept[bisect_right(self._kept, self._at, key=itemgetter(0)) - 1]
        if self._at < self._begin or nearest[0] > self._begin + len(self._block):
            self._go_to(*nearest)
        while self._at >= self._begin + len(self._block):
            if not self._go_on():
                return 0
        start = self._at - self._begin
        part = self._block[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _go_to(self, begin: int, source: int, state: Any) -> None:
        """Decompress from a state that was kept."""
        self._begin, self._source, self._block = begin, source, b""
        self._inflate = state.copy()
        self._compressed = self._inflate.unconsumed_tail

    def _go_on(self) -> bool:
        """Decompress the next block; false at the end."""
        self._begin += len(self._block)
        if self._begin >= self._kept[-1][0] + STEP and not self._inflate.eof:
            self._kept.append((self._begin, self._source, self._inflate.copy()))
        self._block = b""
        while not self._block:
            if self._inflate.eof:  # of one of several members, which a gzip file may have
                self._compressed = (self._inflate.unused_data or self._more()).lstrip(b"\0")
                if not self._compressed:
                    return False
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
            compressed = self._compressed or self._more()
            self._block = self._inflate.decompress(compressed, CHUNK)
            self._compressed = self._inflate.unconsumed_tail
            if not (compressed or self._block or self._inflate.eof):
                raise EOFError("the gzip file breaks off")
        return True

    def _more(self) -> bytes:
        compressed = os.pread(self._descriptor, CHUNK, self._source)
        self._source += len(compressed)
        return compressed
