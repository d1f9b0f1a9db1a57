"""Which files a user's word means, and what becomes of those that are no images."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_repro.analysis.images import Damaged, find_images, read_image, read_upload
from alexnet_repro.base.errors import UsageError


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name in ("b.png", "a.jpg", "deeper/c.webp", ".hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (30, 20), (200, 10, 10)).save(path)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def found(photographs: Path, given: str) -> list[str]:
    return [str(p.relative_to(photographs)) for p in find_images(str(photographs / given))]


def test_a_file_a_folder_and_a_pattern(photographs: Path) -> None:
    assert found(photographs, "b.png") == ["b.png"]
    assert found(photographs, "notes.txt") == ["notes.txt"]  # asked for by its name
    assert found(photographs, ".") == ["a.jpg", "b.png", "deeper/c.webp"]
    assert found(photographs, "*") == ["a.jpg", "b.png"]
    assert found(photographs, "**/*.webp") == ["deeper/c.webp"]


@pytest.mark.parametrize(
    ("given", "told"),
    [("none", "no such file or folder"), ("*.gif", "matches"), ("empty", "holds")],
)
def test_nothing_is_told(photographs: Path, given: str, told: str) -> None:
    (photographs / "empty").mkdir()
    with pytest.raises(UsageError, match=told):
        find_images(str(photographs / given))


def test_an_image_is_read_as_the_training_images_were(photographs: Path) -> None:
    image = read_image(photographs / "b.png", 16)
    assert isinstance(image, np.ndarray)
    assert image.shape == (16, 16, 3)
    assert (image == (200, 10, 10)).all()


def bomb(path: Path) -> None:
    """A PNG file of some bytes whose header promises 50,000 × 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + pixels + chunk(b"IEND", b""))


def test_damaged_images_say_why(photographs: Path) -> None:
    torn = photographs / "torn.jpg"
    torn.write_bytes((photographs / "a.jpg").read_bytes()[:200])
    bomb(photographs / "bomb.png")
    for name, why in (
        ("torn.jpg", "truncated"),
        ("notes.txt", "not a"),
        ("bomb.png", "bomb"),
    ):
        image = read_image(photographs / name, 16)
        assert isinstance(image, Damaged)
        assert why in image.reason.lower()
        assert "\n" not in image.reason


def encoded(kind: str, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (10, 200, 10)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_an_upload_is_read_as_a_file_is(tmp_path: Path, kind: str) -> None:
    (tmp_path / "image").write_bytes(content := encoded(kind, (40, 30)))
    uploaded = read_upload(content, 16, "ignore", 40 * 30)
    assert isinstance(uploaded, np.ndarray)
    np.testing.assert_array_equal(uploaded, read_image(tmp_path / "image", 16))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (encoded("PNG", (41, 30))[:60], "41×30 pixels"),  # there is no pixel in it to decode
        (encoded("PNG", (40, 30))[:60], "truncated|broken"),
        (encoded("EPS", (20, 20)), "not a JPEG"),
        (encoded("TIFF", (20, 20)), "not a JPEG"),
        (b"", "not a JPEG"),
    ],
    ids=["pixels", "torn", "postscript", "tiff", "empty"],
)
def test_an_upload_is_refused_with_a_reason(content: bytes, told: str) -> None:
    refused = read_upload(content, 16, "ignore", 40 * 30)
    assert isinstance(refused, Damaged)
    assert re.search(told, refused.reason)


def test_the_header_of_an_upload_is_not_believed(tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.png")
    assert isinstance(read_upload((tmp_path / "bomb.png").read_bytes(), 16, "ignore", 8e7), Damaged)


def test_what_is_passed_over_in_a_folder_is_told(
    photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photographs / "IMG_1.heic").touch()
    (photographs / "0a1b2c").touch()
    hidden = photographs / ".ipynb_checkpoints"
    hidden.mkdir()
    Image.new("RGB", (30, 20)).save(hidden / "a.png")
    assert found(photographs, ".") == ["a.jpg", "b.png", "deeper/c.webp"]
    told = capsys.readouterr().err
    assert "skipped 2 hidden or system files (.hidden.png); 3 files without the ext" in told
    assert found(photographs, "*.*") == ["a.jpg", "b.png"]
    assert "2 files without the extension of an image (IMG_1.heic)" in capsys.readouterr().err
