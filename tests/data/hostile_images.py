"""Image files as strangers might send them, in mutations of small whole ones.

As a program it reads the files of a folder as ``predict`` and ``serve`` do, and prints what became
of them and how much memory that took: ``python hostile_images.py FOLDER``.
"""

import io
import json
import random
import resource
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = (
    "PNG",
    "JPEG",
    "GIF",
    "WEBP",
    "BMP",
    "TIFF",
    "PPM",
    "ICO",
    "TGA",
    "JPEG2000",
    "PCX",
    "DDS",
)
HUGE = 30_000


def whole_files() -> list[tuple[str, bytes]]:
    """A small image in every format and mode that Pillow writes."""
    pixels = np.random.default_rng(0).integers(256, size=(24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    files = []
    for kind in FORMATS:
        for mode in ("RGB", "L", "P", "RGBA", "1", "CMYK", "I;16"):
            file = io.BytesIO()
            try:
                image.convert("I" if mode == "I;16" else mode).save(file, kind)
            except (OSError, ValueError, KeyError):  # a mode that the format does not have
                continue
            files.append((f"{kind}-{mode}".lower().replace(";", ""), file.getvalue()))
    frames = [image.rotate(90 * i) for i in range(4)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        file = io.BytesIO()
        image.save(file, kind, save_all=True, append_images=frames)
        files.append((f"{kind}-frames".lower(), file.getvalue()))
    return files


def mutated(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """``count`` damaged files: a name that says what was done, and the content."""
    rng = random.Random(seed)
    files = whole_files()
    ways = (flipped, truncated, overwritten, spliced, repeated, resized)
    for number in range(count):
        name, content = files[number % len(files)]
        way = ways[number // len(files) % len(ways)]
        other = rng.choice(files)[1]
        yield f"{number:05d}-{way.__name__}-{name}.jpg", way(bytearray(content), other, rng)


def flipped(content: bytearray, other: bytes, rng: random.Random) -> bytes:
    # Most damage is done where the header is.
    reach = rng.choice((32, 128, len(content)))
    for _ in range(rng.randint(1, 16)):
        content[rng.randrange(min(reach, len(content)))] ^= 1 << rng.randrange(8)
    return bytes(content)


def truncated(content: bytearray, other: bytes, rng: random.Random) -> bytes:
    return bytes(content[: rng.randrange(len(content))])


def overwritten(content: bytearray, other: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    length = rng.choice((1, 2, 4, 64))
    filling = rng.choice((b"\x00", b"\xff", b"\x7f", bytes([rng.randrange(256)])))
    content[start : start + length] = filling * length
    return bytes(content)


def spliced(content: bytearray, other: bytes, rng: random.Random) -> bytes:
    return bytes(content[: rng.randrange(1, len(content))]) + other[rng.randrange(len(other)) :]


def repeated(content: bytearray, other: bytes, rng: random.Random) -> bytes:
    start, end = sorted(rng.randrange(len(content)) for _ in range(2))
    return bytes(content[:end] + content[start:end] * rng.randint(1, 50) + content[end:])


def resized(content: bytearray, other: bytes, rng: random.Random) -> bytes:
    """A width or height in the header becomes another number, in either byte order."""
    for size in (24, 32):
        for order in ("<H", ">H", "<I", ">I"):
            place = content[:200].find(struct.pack(order, size))
            if place >= 0 and rng.random() < 0.5:
                largest = 2 ** (8 * struct.calcsize(order)) - 1
                value = rng.choice((0, 1, HUGE, largest, largest // 2))
                struct.pack_into(order, content, place, value)
    return bytes(content)


def bombs() -> dict[str, bytes]:
    """Small files that would unpack to gigabytes, or be run."""
    rows = zlib.compress((b"\0" + bytes(HUGE // 8)) * HUGE, 9)
    text = zlib.compress(bytes(300_000_000), 9)
    jpeg = io.BytesIO()
    Image.new("L", (16, 16)).save(jpeg, "JPEG")
    large = bytearray(jpeg.getvalue())
    frame = large.find(b"\xff\xc0")
    struct.pack_into(">HH", large, frame + 5, HUGE, HUGE)
    return {
        "pixels.png": png(1, rows),
        "text.png": png(1, rows[:100], (b"zTXt", b"Comment\0\0" + text), size=32),
        "profile.png": png(1, rows[:100], (b"iCCP", b"profile\0\0" + text), size=32),
        "pixels.jpg": bytes(large),
        "pixels.bmp": bmp(),
        "pixels.gif": b"GIF89a" + struct.pack("<HHBBB", HUGE, HUGE, 0x80, 0, 0) + bytes(6)
        + b"," + struct.pack("<HHHHB", 0, 0, HUGE, HUGE, 0) + b"\x02\x02\x4c\x01\x00;",
        "pixels.ppm": b"P6 30000 30000 255\n",
        "program.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n",
        "pixels.svg.png": b"<svg width='30000' height='30000'/>",
    }  # fmt: skip


def png(depth: int, pixels: bytes, *chunks: tuple[bytes, bytes], size: int = HUGE) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", size, size, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def bmp() -> bytes:
    """A run-length encoded picture without any runs."""
    header = struct.pack("<IiiHHIIiiII", 40, HUGE, HUGE, 1, 8, 1, 2, 0, 0, 256, 0)
    start = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", start + 2, 0, 0, start) + header + bytes(1024) + b"\0\1"


def read_all(folder: Path) -> dict[str, int]:
    """How many files are read, how many are damaged, and the most memory that took, in bytes."""
    from alexnet_repro.analysis.images import Damaged, read_image, read_upload

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = {"read": 0, "damaged": 0, "uploaded": 0, "refused": 0, "many_lines": 0}
    for path in sorted(folder.rglob("*.*")):
        image, upload = read_image(path, 16), read_upload(path.read_bytes(), 16, "ignore", 25e6)
        counts["damaged" if isinstance(image, Damaged) else "read"] += 1
        counts["refused" if isinstance(upload, Damaged) else "uploaded"] += 1
        for one in (image, upload):
            counts["many_lines"] += isinstance(one, Damaged) and "\n" in one.reason
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return counts | {"bytes": 1024 * (after - before)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(read_all(Path(sys.argv[1]))))
