"""Writing large files past the page cache, with their checksum."""

import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import xxhash

BUFFER = 4 << 20
BUFFERS = 8
"""So many are filled and written in turn, that a disk may pause while images are decoded."""
BLOCK = 4096


class DirectFile:
    """A file to write once, from its beginning to its end.

    A prepared set is larger than memory and is not read soon. Written through the page cache, it
    costs an allocation and a copy of every page, which on a virtual machine can take as long as a
    sixth of decoding the image, and pushes out of memory what others read. Where the file system
    does not allow to write past the cache, the file is written as any other.

    Attributes:
        closed: whether nothing more can be written.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            self._file = os.open(path, flags | getattr(os, "O_DIRECT", 0), 0o644)
        except OSError:
            self._file = os.open(path, flags, 0o644)
        # Memory of its own pages: direct writes must be aligned.
        self._buffer = mmap.mmap(-1, BUFFER)
        self._spare: list[mmap.mmap] = []
        self._writer = ThreadPoolExecutor(1)
        self._writing: deque[tuple[Future[None], mmap.mmap]] = deque()
        self._filled, self._written = 0, 0
        self._digest = xxhash.xxh3_128()
        self.closed = False

    @property
    def checksum(self) -> str:
        """XXH3 of 128 bits of what was written, in hexadecimal digits."""
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview) -> int:
        rest = memoryview(data).cast("B")
        length = len(rest)
        self._digest.update(rest)
        while rest:
            part = rest[: BUFFER - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            rest = rest[len(part) :]
            if self._filled == BUFFER:
                self._put(BUFFER)
        return length

    def flush(self) -> None:
        """Nothing: what is buffered is written when the buffer is full or the file is closed."""

    def close(self) -> None:
        """Write what is left and have it on the disk."""
        if self.closed:
            return
        self.closed = True
        try:
            length = self.tell()
            self._put(-(-self._filled // BLOCK) * BLOCK)
            while self._writing:
                self._wait()
            os.ftruncate(self._file, length)
            os.fsync(self._file)
        finally:
            self._writer.shutdown()
            os.close(self._file)
            for buffer in (self._buffer, *self._spare, *(b for _, b in self._writing)):
                buffer.close()

    def tell(self) -> int:
        return self._written + self._filled

    def _put(self, count: int) -> None:
        """Have ``count`` bytes of the buffer written, and go on with another one."""
        self._writing.append(
            (self._writer.submit(self._write_all, self._buffer, count), self._buffer)
        )
        self._written += self._filled
        self._filled = 0
        if len(self._writing) == BUFFERS:
            self._wait()
        self._buffer = self._spare.pop() if self._spare else mmap.mmap(-1, BUFFER)

    def _wait(self) -> None:
        """For the oldest buffer to be written."""
        written, buffer = self._writing.popleft()
        self._spare.append(buffer)
        written.result()

    def _write_all(self, buffer: mmap.mmap, count: int) -> None:
        written = 0
        while written < count:
            with memoryview(buffer) as view, view[written:count] as rest:
                written += os.write(self._file, rest)
