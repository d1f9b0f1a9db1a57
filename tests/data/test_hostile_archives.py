"""Archives that mean harm, and random ones: what cannot be read is named, and nothing is unpacked.

``HYPOTHESIS_EXAMPLES=100000 pytest tests/data/test_hostile_archives.py`` searches for longer. What
it finds goes to ``corpus/archives``, which is read every time.
"""

import io
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet_repro.base.console import printable
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data.ilsvrc import class_tars
from alexnet_repro.data.listing import LARGEST_IMAGE, File, Notes, files
from alexnet_repro.data.prepare import prepare
from alexnet_repro.data.releases import release
from alexnet_repro.data.sources import Source
from alexnet_repro.data.store import StoredAs, open_store

CORPUS = sorted((Path(__file__).parent / "corpus" / "archives").glob("*.tar"))
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", 150))
SECONDS = 120
"""After which something is taken to hang."""


def picture(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(256, size=(20, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def class_tar(*more: tuple[tarfile.TarInfo, bytes]) -> bytes:
    return tar(*((named(f"{i}.jpg"), picture(i)) for i in range(3)), *more)


def with_size(content: bytes, name: bytes, field: bytes) -> bytes:
    """The archive with another size in the header of a member, and the checksum that fits it."""
    header = content.index(name)
    block = bytearray(content[header : header + 512])
    block[124:136] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return content[:header] + bytes(block) + content[header + 512 :]


OUTSIDE = {
    "up": (named("../../outside.jpg"), picture()),
    "absolute": (named("/tmp/outside.jpg"), picture()),
}
LINKS = {
    "symbolic link": (named("link.jpg", tarfile.SYMTYPE, "/etc/passwd"), b""),
    "hard link": (named("hard.jpg", tarfile.LNKTYPE, "../../../etc/passwd"), b""),
    "device": (named("device.jpg", tarfile.CHRTYPE), b""),
    "block device": (named("block.jpg", tarfile.BLKTYPE), b""),
    "pipe": (named("pipe.jpg", tarfile.FIFOTYPE), b""),
}


@pytest.fixture
def of_release(tmp_path: Path) -> Callable[..., Source]:
    """A release of two classes, the second of which is the given archive."""

    def make(content: bytes) -> Source:
        top = tmp_path / "archives"
        top.mkdir()
        (top / "n00000001.tar").write_bytes(class_tar())
        (top / "n00000002.tar").write_bytes(content)
        return release(str(top), "none.tar", 0.5, 1, 0)

    return make


def test_members_that_lie_elsewhere_are_images_like_others_and_links_are_named(
    of_release: Callable[..., Source], tmp_path: Path
) -> None:
    source = of_release(class_tar(*OUTSIDE.values(), *LINKS.values()))
    assert len(source.damaged) == len(LINKS)
    for info, _ in LINKS.values():
        assert f"n00000002.tar/{info.name} (is a link or a device)" in source.damaged
    store = open_store(prepare(source, StoredAs(16), tmp_path / "store", max_damaged=len(LINKS)))
    names = {s.name(i) for s in store.splits.values() for i in range(len(s))}
    assert {info.name for info, _ in OUTSIDE.values()} <= names
    assert {path.name for path in tmp_path.iterdir()} == {"archives", "store", ".store.lock"}
    assert not any(Path(place).exists() for place in ("/tmp/outside.jpg", tmp_path / "outside.jpg"))


@pytest.mark.parametrize(
    "field",
    [
        b"\x80" + (2**60).to_bytes(11, "big"),
        b"77777777777\0",
        b"\xff" + ((-1024) % 2**88).to_bytes(11, "big"),
        b"\xff" + ((-(2**40)) % 2**88).to_bytes(11, "big"),
    ],
    ids=["an exabyte", "8 GB", "minus a header", "minus a terabyte"],
)
def test_a_size_that_cannot_be_is_named_and_takes_no_time_or_memory(
    of_release: Callable[..., Source], tmp_path: Path, field: bytes
) -> None:
    content = with_size(class_tar((named("last.jpg"), picture())), b"last.jpg", field)
    began = time.monotonic()
    source = of_release(content)
    store = open_store(prepare(source, StoredAs(16), tmp_path / "store", max_damaged=3))
    assert time.monotonic() - began < SECONDS
    told = (tmp_path / "store" / "damaged.txt").read_text()
    assert "n00000002.tar (damaged or incomplete archive: " in told
    assert sum(map(len, store.splits.values())) == 6


def test_a_member_that_is_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "n00000001.tar"
    with path.open("wb") as file:
        info = named("large.jpg")
        info.size = LARGEST_IMAGE + 1
        file.write(info.tobuf())
        file.truncate(512 + 2**30)
    ((_, member),) = files(path, Notes())
    with pytest.raises(ValueError, match="bytes large"):
        member.open()


def test_ten_thousand_members_and_archives_within_archives(tmp_path: Path) -> None:
    inner = picture()
    for level in range(200):
        inner = tar((named(f"{level}.tar"), inner))
    whole = [(named(f"whole{i}.jpg"), picture(i)) for i in range(8)]
    none = ((named(f"{i}.jpg"), b"x") for i in range(10_000))
    many = tar(*none, (named("deep.jpg"), inner), *whole)
    (tmp_path / "whole.tar").write_bytes(
        tar((named("n00000001.tar"), many), (named("n00000002.tar"), class_tar()))
    )
    source = release(str(tmp_path), "whole.tar", 0.5, 1, 0)
    assert sum(len(split.names) for split in source.splits.values()) == 10_012
    store = open_store(prepare(source, StoredAs(16), tmp_path / "store", max_damaged=10_001))
    assert sum(map(len, store.splits.values())) == 11


def test_names_cannot_end_a_line_or_move_the_terminal(of_release: Callable[..., Source]) -> None:
    names = ("two\nlines.jpg", "\x1b[2J.jpg", "bytes\udcff.jpg")
    source = of_release(class_tar(*((named(name), picture()) for name in names)))
    found = [name for split in source.splits.values() for name in split.names]
    assert len(found) == 9
    assert all(printable(name) == name for name in found)
    "".join(found).encode()


def read_everything(content: bytes, directory: Path) -> list[str]:
    """What was damaged, after every member was looked for and opened."""
    whole, separate = directory / "whole.tar", directory / "n00000001.tar"
    notes = Notes()
    for path in (whole, separate):
        path.write_bytes(content)
    members: list[File] = [member for _, member in files(separate, notes)]
    for top in (directory, directory / "only"):
        try:
            members += [m for own in class_tars(top, "whole.tar", notes).values() for m in own]
        except UsageError as error:
            notes.damaged.append(str(error))
    for member in members:
        try:
            with member.open() as image:
                image.load()
        except MemoryError:
            raise
        except Exception as error:
            notes.damaged.append(" ".join(str(error).split()))
    return notes.damaged


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """A small archive of archives, of which some bytes have been changed."""
    extra = draw(st.lists(st.sampled_from([*OUTSIDE.values(), *LINKS.values()]), max_size=2))
    form = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in (
            ("n00000001.tar", class_tar(*extra)),
            ("é" * 40 + "/" + "ü" * 40, b"x"),
        ):
            info = named(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    content = bytearray(file.getvalue())
    # Headers are where damage leads somewhere: most edits go to one of them.
    headers = [i - 257 for i in range(len(content)) if content[i : i + 5] == b"ustar"]
    for _ in range(draw(st.integers(1, 6))):
        header = draw(st.sampled_from(headers))
        place = header + draw(st.integers(0, 511))
        new = draw(st.binary(min_size=1, max_size=12))
        content[place : place + len(new)] = new
        if draw(st.booleans()):
            block = content[header : header + 512]
            block[148:156] = b" " * 8
            content[header + 148 : header + 156] = b"%06o\0 " % sum(block)
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 1000,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
@given(content=archives())
def test_whatever_an_archive_holds_it_is_read_or_named(content: bytes, tmp_path: Path) -> None:
    damaged = read_everything(content, tmp_path)
    assert all(printable(line) == line for line in damaged)
    assert {path.name for path in tmp_path.iterdir()} == {"whole.tar", "n00000001.tar"}


@pytest.mark.parametrize("path", CORPUS, ids=[path.stem for path in CORPUS])
def test_what_was_found_before(path: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    damaged = read_everything(path.read_bytes(), tmp_path)
    assert damaged
    assert all(printable(line) == line for line in damaged)
    assert time.monotonic() - began < SECONDS
