"""A store is made once, completely or not at all, and goes on where it was stopped."""

import errno
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_repro.base import files
from alexnet_repro.base.errors import UsageError
from alexnet_repro.data import prepare as preparation
from alexnet_repro.data.prepare import cached, prepare
from alexnet_repro.data.sources import Source, Split, folder
from alexnet_repro.data.store import Manifest, StoredAs, open_store

MakeFolder = Callable[..., Path]
SIZE = 16


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "IMAGES_PER_SHARD", 20)
    monkeypatch.setattr(preparation, "IMAGES_PER_BATCH", 8)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepare in this process, as elsewhere than on Linux, so that the test can read its lists."""
    monkeypatch.setattr(preparation.sys, "platform", "darwin")


def opening(source: Source, open_: Callable[[Split, int], Image.Image]) -> Source:
    """The same source whose images are opened by ``open_(split, index)``."""
    splits = {
        name: Split(s.names, s.labels, lambda i, s=s: open_(s, i))  # type: ignore[misc]
        for name, s in source.splits.items()
    }
    return Source(source.classes, splits, source.fingerprint)


def stores(cache: Path) -> list[Path]:
    """The finished stores."""
    return [p for p in cache.iterdir() if p.is_dir() and p.suffix != ".unfinished"]


def contents(directory: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
    }


def test_a_store_is_made_once(root: Path, cache: Path) -> None:
    def refuse(split: Split, index: int) -> Image.Image:
        raise AssertionError("the source was read again")

    source = folder(str(root))
    store = cached(source, StoredAs(SIZE), cache, "pets")
    assert (
        cached(opening(source, refuse), StoredAs(SIZE), cache, "pets").directory == store.directory
    )
    assert stores(cache) == [store.directory]


def test_another_size_or_a_changed_file_makes_another_store(root: Path, cache: Path) -> None:
    store = cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    other_size = cached(folder(str(root)), StoredAs(SIZE + 1), cache, "pets")
    Image.new("RGB", (20, 20), (1, 2, 3)).save(root / "val" / "dog" / "000.png")
    changed = cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert len({s.directory for s in (store, other_size, changed)}) == 3
    assert (changed.splits["val"].image(3) == (1, 2, 3)).all()


def test_a_new_and_a_missing_file_make_another_store(root: Path, cache: Path) -> None:
    (root / "train" / "cat" / "000.png").unlink()
    assert len(cached(folder(str(root)), StoredAs(SIZE), cache, "pets").splits["train"]) == 74
    Image.new("RGB", (20, 20)).save(root / "train" / "cat" / "new.png")
    Image.new("RGB", (20, 20)).save(root / "train" / "cat" / "newer.png")
    assert len(cached(folder(str(root)), StoredAs(SIZE), cache, "pets").splits["train"]) == 76


def test_shards_and_batches_do_not_change_what_is_stored(
    root: Path, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = cached(folder(str(root)), StoredAs(SIZE), tmp_path / "many", "pets")
    assert len(list(many.directory.glob("train-*.arrow"))) == 4
    monkeypatch.undo()
    one = cached(folder(str(root)), StoredAs(SIZE), tmp_path / "one", "pets")
    for split in ("train", "val"):
        ours, other = many.splits[split], one.splits[split]
        assert np.array_equal(ours.labels, other.labels)
        for i in range(len(other)):
            assert ours.name(i) == other.name(i)
            assert np.array_equal(ours.image(i), other.image(i))
    assert np.array_equal(many.statistics.mean_image, one.statistics.mean_image)
    assert np.array_equal(many.statistics.eigenvalues, one.statistics.eigenvalues)


@pytest.mark.long
def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    peaks = [_peak_memory(tmp_path / f"{count}", count) for count in (2048, 8192)]
    # 6,144 more images of 64 pixels are 75 MB; their names and shards' sums are kept.
    assert peaks[1] - peaks[0] < 15_000


GROWING = """
import resource, sys
from pathlib import Path
from PIL import Image
from alexnet_repro.data.prepare import prepare
from alexnet_repro.data.sources import Source, Split
from alexnet_repro.data.store import StoredAs
image = Image.new("RGB", (80, 64))
def images(n):
    return Split([f"{i}.png" for i in range(n)], [i % 2 for i in range(n)], lambda i: image.copy())
source = Source(("a", "b"), {"train": images(int(sys.argv[2])), "val": images(4)}, "x")
prepare(source, StoredAs(64), Path(sys.argv[1]))
print(max(resource.getrusage(who).ru_maxrss
          for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


def _peak_memory(store: Path, images: int) -> int:
    """Kilobytes that a process which prepares so many images, or one of its workers, holds."""
    command = [sys.executable, "-c", GROWING, str(store), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _text(path: Path) -> None:
    path.write_text("<html>404</html>")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_truncate, _text, _empty])
@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_a_damaged_image_is_named_and_there_is_no_store(
    root: Path, cache: Path, damage: Callable[[Path], None], extension: str
) -> None:
    path = root / "train" / "dog" / f"damaged.{extension}"
    random = np.random.default_rng(1)
    Image.fromarray(random.integers(256, size=(60, 60, 3), dtype=np.uint8)).save(path)
    damage(path)
    with pytest.raises(UsageError) as error:
        cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert f"1 images cannot be read: train/dog/damaged.{extension}" in str(error.value)
    assert "data.max_damaged=N" in str(error.value)
    assert "\n" not in str(error.value)
    assert stores(cache) == []


def test_many_damaged_images_are_counted_and_three_named(root: Path, cache: Path) -> None:
    for i in range(10):
        _text(root / "train" / "dog" / f"{i:03d}.png")
    with pytest.raises(UsageError) as error:
        cached(folder(str(root)), StoredAs(SIZE), cache, "pets", max_damaged=9)
    message = str(error.value)
    assert message.startswith("10 images cannot be read: train/dog/000.png")
    assert [f"{i:03d}.png" in message for i in range(10)] == [True] * 3 + [False] * 7
    assert stores(cache) == []


def test_as_many_damaged_images_as_allowed_are_left_out_and_listed(
    root: Path, cache: Path, small_shards: None
) -> None:
    whole = cached(folder(str(root)), StoredAs(SIZE), cache, "pets").splits["train"]
    damaged = {"train/cat/000.png", "train/cat/007.png", "train/dog/034.png"}
    for name in damaged:
        _text(root / name)
    store = cached(folder(str(root)), StoredAs(SIZE), cache, "pets", max_damaged=3)
    train = store.splits["train"]
    kept = [i for i in range(75) if whole.name(i) not in damaged]
    assert [train.name(i) for i in range(len(train))] == [whole.name(i) for i in kept]
    assert train.labels.tolist() == whole.labels[kept].tolist()
    assert all(np.array_equal(train.image(new), whole.image(old)) for new, old in enumerate(kept))
    lines = (store.directory / "damaged.txt").read_text().splitlines()
    assert {line.split(" (")[0] for line in lines} == damaged


def test_an_image_that_pil_finds_too_large_is_named(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (80, 80)).save(root / "val" / "dog" / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(UsageError, match=r"1 images cannot be read: val/dog/large\.png"):
        cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert stores(cache) == []


def test_a_split_without_a_readable_image_is_told(root: Path, cache: Path) -> None:
    for path in (root / "val").rglob("*.png"):
        _text(path)
    with pytest.raises(UsageError, match="val: not one of its 5 images can be read"):
        cached(folder(str(root)), StoredAs(SIZE), cache, "pets", max_damaged=100)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupted_preparation_goes_on_after_its_complete_shards(
    root: Path, cache: Path, tmp_path: Path, small_shards: None, interruption: type[BaseException]
) -> None:
    source = folder(str(root))
    opened: list[str] = []

    def interrupted(split: Split, index: int) -> Image.Image:
        if split.names[index].startswith("train") and index == 65:
            raise interruption
        return split.open(index)

    def count(split: Split, index: int) -> Image.Image:
        opened.append(split.names[index])
        return split.open(index)

    with pytest.raises(interruption):
        cached(opening(source, interrupted), StoredAs(SIZE), cache, "pets")
    assert stores(cache) == []
    there = {int(path.stem[-5:]) for path in cache.glob("*/train-*.arrow")}
    assert there == {0, 1, 2}
    store = cached(opening(source, count), StoredAs(SIZE), cache, "pets")
    names = source.splits["train"].names
    expected = [name for i, name in enumerate(names) if i // 20 not in there]
    assert sorted(name for name in opened if name.startswith("train")) == sorted(expected)
    undisturbed = cached(source, StoredAs(SIZE), tmp_path / "undisturbed", "pets")
    assert contents(store.directory) == contents(undisturbed.directory)
    assert np.array_equal(store.statistics.mean_image, undisturbed.statistics.mean_image)


def test_a_preparation_that_is_interrupted_while_clearing_up_is_finished(
    root: Path, cache: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, unlinked = Path.unlink, []

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith(".facts.npz"):
            if len(unlinked) == 2:
                raise KeyboardInterrupt
            unlinked.append(path)
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert stores(cache) == []
    store = cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert len(store.splits["train"]) == 75
    assert not list(store.directory.glob("*.facts.npz"))


def test_a_finished_store_needs_no_lock(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(folder(str(root)), StoredAs(SIZE), cache, "pets")

    def read_only(*arguments: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(files.fcntl, "flock", read_only)
    assert len(cached(folder(str(root)), StoredAs(SIZE), cache, "pets").splits["val"]) == 5


KILLED = """
import sys
import time
from pathlib import Path
from alexnet_repro.data import prepare as preparation
from alexnet_repro.data.sources import folder
from alexnet_repro.data.store import StoredAs
preparation.IMAGES_PER_SHARD = 4
read = preparation._read

def slow(*arguments):  # long enough for the test to see shard after shard
    time.sleep(0.02)
    return read(*arguments)

preparation._read = slow
root, cache = sys.argv[1:]
preparation.cached(folder(root), StoredAs(16), Path(cache), "pets")
"""


@pytest.mark.long
def test_a_killed_preparation_ends_like_an_undisturbed_one(
    image_folder: MakeFolder, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"train": {"cat": 60, "dog": 60}, "val": {"cat": 3, "dog": 2}}
    root = image_folder(counts, sizes=(300, 400))
    kills, complete = 0, 0
    while not stores(cache) if cache.exists() else True:
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(root), str(cache)])
        while process.poll() is None and len(list(cache.glob("*/*.arrow"))) < complete + 10:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        assert process.returncode in (0, -signal.SIGKILL)
        now = len(list(cache.glob("*/*.arrow")))
        assert now > complete or stores(cache)
        complete = now
    assert kills >= 2
    monkeypatch.setattr(preparation, "IMAGES_PER_SHARD", 4)
    undisturbed = cached(folder(str(root)), StoredAs(SIZE), tmp_path / "undisturbed", "pets")
    (killed,) = stores(cache)
    assert contents(killed) == contents(undisturbed.directory)


@pytest.mark.usefixtures("one_process")
def test_of_two_simultaneous_preparations_one_waits_for_the_other(root: Path, cache: Path) -> None:
    source = folder(str(root))
    opened: list[int] = []

    def count(split: Split, index: int) -> Image.Image:
        opened.append(index)
        return split.open(index)

    with ThreadPoolExecutor(2) as pool:
        both = list(
            pool.map(
                lambda _: cached(opening(source, count), StoredAs(SIZE), cache, "pets"), range(2)
            )
        )
    assert both[0].directory == both[1].directory
    assert len(opened) == 80


HOLDING = """
import sys, time
from pathlib import Path
from alexnet_repro.base.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_process_that_is_killed_ends_with_it(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, place = folder(str(root)), tmp_path / "store"
    command = [sys.executable, "-c", HOLDING, str(place)]
    with (
        caplog.at_level("INFO"),
        subprocess.Popen(command, stdout=subprocess.PIPE) as holder,
        ThreadPoolExecutor(1) as pool,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        made = pool.submit(prepare, source, StoredAs(SIZE), place)
        while "waiting for another process" not in caplog.text and not made.done():
            time.sleep(0.01)
        assert not made.done()
        holder.kill()
        assert made.result() == place


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_and_prepared_on(
    root: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    store = cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert f"{store.directory}: its file system has no locks" in caplog.text


def test_too_little_disk_is_told_before_anything_is_read(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearly_full = SimpleNamespace(free=1000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: nearly_full)
    with pytest.raises(
        UsageError, match=r"80 images at 16 pixels takes 100\.4 kB, 1\.0 kB are free"
    ):
        cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert not any(path.is_dir() for path in cache.iterdir())


# Several nodes


@pytest.mark.usefixtures("one_process")
def test_parts_of_several_nodes_merge_to_the_same_store(
    root: Path, tmp_path: Path, small_shards: None
) -> None:
    source, stored_as = folder(str(root)), StoredAs(SIZE)
    prepare(source, stored_as, tmp_path / "alone")
    opened: list[int] = []

    def count(split: Split, index: int) -> Image.Image:
        opened.append(index)
        return split.open(index)

    for node in (3, 1, 2):
        assert prepare(source, stored_as, tmp_path / "store", 0, (node, 3)).name.endswith(
            "unfinished"
        )
    prepare(opening(source, count), stored_as, tmp_path / "store")
    assert opened == []
    assert contents(tmp_path / "store") == contents(tmp_path / "alone")
    assert {path.name for path in tmp_path.glob(".*")} == {".alone.lock", ".store.lock"}


def test_nodes_without_a_common_folder_copy_theirs_together(
    root: Path, tmp_path: Path, small_shards: None
) -> None:
    source, stored_as = folder(str(root)), StoredAs(SIZE, "jpeg", 90)
    for node in (1, 2):
        prepare(source, stored_as, tmp_path / f"node{node}" / "store", 0, (node, 2))
    there = tmp_path / "node1" / "store.unfinished"
    for path in (tmp_path / "node2" / "store.unfinished").iterdir():
        shutil.copy2(path, there)
    prepare(source, stored_as, tmp_path / "node1" / "store")
    prepare(source, stored_as, tmp_path / "alone")
    assert contents(tmp_path / "node1" / "store") == contents(tmp_path / "alone")


def test_what_no_node_wrote_is_prepared_when_merging(
    root: Path, tmp_path: Path, small_shards: None
) -> None:
    source, stored_as = folder(str(root)), StoredAs(SIZE)
    prepare(source, stored_as, tmp_path / "store", 0, (2, 3))
    store = open_store(prepare(source, stored_as, tmp_path / "store"))
    prepare(source, stored_as, tmp_path / "alone")
    assert contents(store.directory) == contents(tmp_path / "alone")


def test_who_merges_waits_for_a_node_that_still_works(
    root: Path, tmp_path: Path, small_shards: None
) -> None:
    source, stored_as = folder(str(root)), StoredAs(SIZE)
    with ThreadPoolExecutor(1) as pool:
        with files.locked(tmp_path / "store", shared=True):
            # A node works beside another one; who prepares the whole is alone.
            prepare(source, stored_as, tmp_path / "store", 0, (1, 2))
            whole = pool.submit(prepare, source, stored_as, tmp_path / "store")
            time.sleep(0.5)
            assert not whole.done()
            assert not (tmp_path / "store").exists()
        assert whole.result() == tmp_path / "store"


def test_a_part_of_a_finished_store_is_there_already(root: Path, tmp_path: Path) -> None:
    source, stored_as = folder(str(root)), StoredAs(SIZE)
    prepare(source, stored_as, tmp_path / "store")
    assert prepare(source, stored_as, tmp_path / "store", 0, (1, 2)) == tmp_path / "store"
    assert not (tmp_path / "store.unfinished").exists()


# JPEG


@pytest.mark.usefixtures("one_process")
def test_jpeg_images_are_those_that_pil_decodes(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = cached(folder(str(root)), StoredAs(64), cache, "pets")
    encode, files = preparation._jpeg, []

    def keep(*arguments: Any) -> bytes:
        files.append(encode(*arguments))
        return files[-1]

    monkeypatch.setattr(preparation, "_jpeg", keep)
    jpeg = cached(folder(str(root)), StoredAs(64, "jpeg", 90), cache, "pets")
    assert raw.directory != jpeg.directory
    assert open_store(jpeg.directory).stored_as.quality == 90
    for i in (0, 3, 40, 74):
        decoded = jpeg.splits["train"].image(i)
        differences = [
            np.abs(decoded - np.asarray(Image.open(io.BytesIO(file)), dtype=int)).max()
            for file in files
        ]
        assert min(differences) <= 3  # builds of libjpeg round differently
        # As near to the original as what PIL makes of it.
        by_pil = io.BytesIO()
        Image.fromarray(raw.splits["train"].image(i)).save(by_pil, "JPEG", quality=90)
        errors = [
            np.abs(raw.splits["train"].image(i) - np.asarray(image, dtype=int)).mean()
            for image in (decoded, Image.open(by_pil))
        ]
        assert errors[0] < 1.1 * errors[1]
    assert np.array_equal(raw.statistics.mean_image, jpeg.statistics.mean_image)


def test_jpeg_needs_less_space_as_foreseen(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(64), np.arange(64))[..., None].astype(np.uint8)
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(20):
                image = Image.fromarray(np.repeat(ramp + np.uint8(i), 3, axis=2))
                image.save(tmp_path / "images" / split / name / f"{i}.png")
    source, stored_as = folder(str(tmp_path / "images")), StoredAs(64, "jpeg", 90)
    store = open_store(prepare(source, stored_as, tmp_path / "store"))
    found = np.mean([len(preparation._jpeg(i, 90)) for i in store.splits["train"].images()])
    assert found <= preparation.JPEG_SHARE * 64 * 64 * 3


# Damage that was found when the images were listed


def test_damage_found_in_listing_counts_with_that_of_images(root: Path, cache: Path) -> None:
    (root / "train" / "stray.png").write_bytes((root / "train/cat/000.png").read_bytes())
    _text(root / "train" / "dog" / "001.png")
    source = folder(str(root))
    with pytest.raises(UsageError, match=r"2 images cannot be read: train/stray\.png \(lies in no"):
        cached(source, StoredAs(SIZE), cache, "pets", max_damaged=1)
    store = cached(source, StoredAs(SIZE), cache, "pets", max_damaged=2)
    listed = (store.directory / "damaged.txt").read_text().splitlines()
    assert [line.split(" (")[0] for line in listed] == ["train/stray.png", "train/dog/001.png"]


@pytest.mark.parametrize(("orientation", "expected"), [("ignore", "red"), ("apply", "blue")])
def test_exif_orientation_is_a_choice(
    root: Path, cache: Path, orientation: str, expected: str
) -> None:
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[:20, :, 0] = pixels[20:, :, 2] = 255  # red above blue
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    path = root / "val" / "cat" / "000.png"
    path.unlink()
    Image.fromarray(pixels).save(path.with_suffix(".jpg"), exif=upside_down, quality=95)
    stored_as = StoredAs(SIZE, exif_orientation=orientation)  # type: ignore[arg-type]
    val = cached(folder(str(root)), stored_as, cache, "pets").splits["val"]
    top_left = val.image(0)[1, 1]
    assert {"red": top_left[0] > 200, "blue": top_left[2] > 200}[expected]


# Processes


def test_a_worker_that_the_system_ends_is_told_and_the_rest_goes_on_later(
    root: Path, cache: Path, small_shards: None
) -> None:
    def killed(split: Split, index: int) -> Image.Image:
        if index == 45:
            os.kill(os.getpid(), signal.SIGKILL)
        return split.open(index)

    source = folder(str(root))
    with pytest.raises(UsageError, match="a worker died, probably out of memory"):
        cached(opening(source, killed), StoredAs(SIZE), cache, "pets")
    assert stores(cache) == []
    assert len(cached(source, StoredAs(SIZE), cache, "pets").splits["train"]) == 75


def test_an_error_in_a_worker_is_that_of_the_command(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("in a worker")

    monkeypatch.setattr(preparation, "_rows", broken)
    with pytest.raises(ZeroDivisionError, match="in a worker"):
        cached(folder(str(root)), StoredAs(SIZE), cache, "pets")


def test_one_process_writes_what_several_do(
    root: Path, tmp_path: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder(str(root))
    prepare(source, StoredAs(SIZE), tmp_path / "several")
    monkeypatch.setattr(preparation.sys, "platform", "darwin")
    prepare(source, StoredAs(SIZE), tmp_path / "one")
    assert contents(tmp_path / "several") == contents(tmp_path / "one")


def test_a_full_disk_is_told_as_the_system_tells_it(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(preparation, "_rows", full)
    with pytest.raises(OSError, match="No space left") as told:
        cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert told.value.errno == errno.ENOSPC
    assert not list(cache.glob("*/.*"))


def test_preparing_leaves_the_random_numbers_of_a_training(root: Path, cache: Path) -> None:
    before = torch.get_rng_state()
    cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.long
def test_workers_end_with_the_process_that_was_killed(
    image_folder: MakeFolder, cache: Path
) -> None:
    root = image_folder({"train": {"cat": 60, "dog": 60}, "val": {"cat": 3, "dog": 2}})
    command = [sys.executable, "-c", KILLED, str(root), str(cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while len(list(cache.glob("*/*.arrow"))) < 4 and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        assert process.stdout is not None
        # The workers hold the pipe too: it ends when the last of them has.
        process.stdout.read()
    assert process.returncode in (0, -signal.SIGKILL)


# Classes


def test_a_class_whose_images_are_all_left_out_is_refused(root: Path, cache: Path) -> None:
    for path in (root / "train" / "dog").iterdir():
        _text(path)
    with pytest.raises(UsageError, match="train: not one image of the class 'dog' can be read"):
        cached(folder(str(root)), StoredAs(SIZE), cache, "pets", max_damaged=100)
    assert stores(cache) == []


def test_classes_without_validation_images_are_told_once(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(root / "val" / "cat")
    for _ in range(2):
        with caplog.at_level("INFO"):
            cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    assert caplog.messages.count("val: no images of 1 classes (cat …)") == 1


def test_images_of_a_single_colour_are_told_once(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("train/dog/000.png", "train/cat/007.png", "val/cat/000.png"):
        Image.new("RGB", (20, 20), (9, 200, 30)).save(root / name)
    cached(folder(str(root)), StoredAs(SIZE), cache, "pets")
    told = [line for line in caplog.messages if "single colour" in line]
    assert told == ["3 images are of a single colour (train/cat/007.png …)"]


def test_the_manifest_holds_how_validation_images_were_drawn(root: Path, cache: Path) -> None:
    shutil.rmtree(root / "val")
    source = folder(str(root), val_fraction=0.2, split_seed=3)
    store = cached(source, StoredAs(SIZE), cache, "pets")
    manifest = Manifest.read(store.directory)
    assert manifest.drawn is not None
    assert manifest.drawn.model_dump() == {"val_fraction": 0.2, "split_seed": 3}
    assert [len(store.splits[name]) for name in ("train", "val")] == [60, 15]


def test_a_set_to_test_on_is_a_store_without_training_images(root: Path, cache: Path) -> None:
    store = cached(folder(str(root / "train")), StoredAs(SIZE), cache, "pets")
    assert {name: len(split) for name, split in store.splits.items()} == {"test": 75}
    images = list(store.splits["test"].images())
    assert np.allclose(store.statistics.mean_image, np.mean(images, axis=0))
