"""A disk that is full or read-only: one line, no half of a file, and what was there stays."""

import hashlib
import itertools
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_repro.training.checkpoint import LAST, damage
from tests.forks import Forks

from .killing import trained

pytestmark = pytest.mark.long

MEGABYTE = 2**20
CHECKPOINT = 5 * MEGABYTE
"""Bytes, about, of a checkpoint of the ``tiny`` network."""


def told(output: str) -> str:
    assert "Traceback" not in output
    assert "Logging error" not in output
    (line,) = (line for line in output.splitlines() if line.startswith("error: "))
    return line


def digests(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system in memory."""
    places: list[Path] = []

    def mount(size: int, *options: str) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        with_size = ",".join([f"size={size}", *options])
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", with_size, "tmpfs", str(place)],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            pytest.skip(f"this process may not mount anything ({done.stderr.strip()})")
        places.append(place)
        return place

    try:
        yield mount
    finally:
        for place in places:
            subprocess.run(["umount", str(place)], check=True)


def test_a_checkpoint_that_is_too_large_for_the_disk_leaves_the_last_one(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    arguments = [*tiny, "trainer=cpu"]
    code, output = trained(forks, tmp_path, *arguments, "schedule.epochs=1")
    assert code == 0, output
    checkpoints = tmp_path / "run" / "checkpoints"
    before, last = digests(checkpoints), checkpoints / LAST
    more = [*arguments, "schedule.epochs=2", f"resume={last}"]
    code, output = trained(forks, tmp_path, *more, largest_file=CHECKPOINT // 2)
    assert code == 2
    assert "cannot be written (File too large)" in told(output)
    assert f"resume={last}" in told(output)
    assert digests(checkpoints) == before
    code, output = trained(forks, tmp_path, *more)
    assert code == 0, output


def test_a_full_disk_ends_a_run_with_whole_checkpoints(
    forks: Forks, tiny: list[str], tmp_path: Path, mounted: Callable[..., Path]
) -> None:
    disk = mounted(5 * CHECKPOINT // 2)
    arguments = [*tiny, "trainer=cpu", f"hydra.run.dir={disk}/run", "schedule.epochs=9"]
    code, output = trained(forks, tmp_path, *arguments)
    assert code == 2, output
    assert "cannot be written (No space left on device)" in told(output)
    found = list((disk / "run" / "checkpoints").iterdir())
    assert {path.suffix for path in found} == {".ckpt"}
    assert LAST in {path.name for path in found}
    assert [damage(path) for path in found] == [None] * len(found)


def test_a_disk_without_room_for_a_record_is_told(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    arguments = [*tiny, "trainer=cpu", "schedule.epochs=1"]
    code, output = trained(forks, tmp_path, *arguments, largest_file=1024)
    assert code == 2
    assert "File too large" in told(output)
    assert not (tmp_path / "run" / "result.json").exists()
    for path in (tmp_path / "run").rglob("*.json"):
        assert path.read_text().endswith("\n")


def test_a_read_only_folder_is_told(
    forks: Forks, tiny: list[str], tmp_path: Path, mounted: Callable[..., Path]
) -> None:
    disk = mounted(MEGABYTE, "ro")
    code, output = trained(forks, tmp_path, *tiny, f"hydra.run.dir={disk}/run", "schedule.epochs=1")
    assert code == 2
    assert "Read-only file system" in told(output)
    assert str(disk) in told(output)


def test_a_preparation_without_room_is_told_and_goes_on_when_there_is(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    arguments = [*tiny, "trainer=cpu", "schedule.epochs=1"]
    own = {"ALEXNET_REPRO_CACHE": str(tmp_path / "cache")}
    code, output = trained(forks, tmp_path, *arguments, largest_file=MEGABYTE, env=own)
    assert code == 2
    assert "File too large" in told(output)
    assert not [path for path in (tmp_path / "cache").rglob("*.arrow") if path.stat().st_size]
    code, output = trained(forks, tmp_path, *arguments, env=own)
    assert code == 0, output
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_a_disk_that_fills_while_it_is_prepared_names_the_file_and_leaves_no_part_of_it(
    forks: Forks, tmp_path: Path, mounted: Callable[..., Path]
) -> None:
    noise = np.random.default_rng(0)
    for split, name, number in itertools.product(("train", "val"), "ab", range(40)):
        folder = tmp_path / "images" / split / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(256, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    # Noise takes more than the share of a photograph that is counted on.
    arguments = ["data=folder", "source=images", "data.image_size=64", "encoding=jpeg"]
    disk = mounted(MEGABYTE)
    command = ["-m", "alexnet_repro.prepare", *arguments, "quality=100"]
    done = forks.run(*command, f"output={disk}/store", cwd=tmp_path)
    assert done.returncode == 2
    assert f"{disk}/store.unfinished/" in told(done.stderr)
    assert ": No space left on device" in told(done.stderr)
    left = [path.name for path in (disk / "store.unfinished").iterdir()]
    assert not [name for name in left if name.startswith(".")]
    small = mounted(MEGABYTE // 4)
    done = forks.run(*command, f"output={small}/store", cwd=tmp_path)
    assert re.search(r"takes \d{3}\.\d kB, \d{3}\.\d kB are free", told(done.stderr))
    assert list((small / "store.unfinished").glob("*.arrow")) == []
