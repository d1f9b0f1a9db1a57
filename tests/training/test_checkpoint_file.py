"""A checkpoint is there whole or not at all, and one that changed is not trusted."""

import errno
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_repro.base.errors import UsageError
from alexnet_repro.training.checkpoint import BEFORE, BEST, LAST, CheckpointFile, damage, whole


def number(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["number"])


def save(directory: Path, n: int, name: str = LAST, file: CheckpointFile | None = None) -> Path:
    content = {"number": n, "global_step": n, "weights": torch.arange(10_000) + n}
    (file or CheckpointFile()).save_checkpoint(content, directory / name)
    CheckpointFile.wait()
    return directory / name


def test_the_one_before_the_last_is_kept_and_nothing_else(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "for it"
    for n in range(3):
        save(directory, n)
        save(directory, n, BEST)
    assert {path.name: number(path) for path in directory.iterdir()} == {
        LAST: 2, BEFORE: 1, BEST: 2,
    }  # fmt: skip


def test_without_hard_links_the_one_before_is_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for n in range(2):
        save(tmp_path, n)
    assert {path.name: number(path) for path in tmp_path.iterdir()} == {LAST: 1, BEFORE: 0}


@pytest.mark.parametrize("links", [True, False])
def test_the_best_and_the_last_of_a_step_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    file, saved = CheckpointFile(), []
    monkeypatch.setattr(torch, "save", lambda *args, of=torch.save: [saved.append(1), of(*args)])
    for name, n in ((BEST, 1), (LAST, 1), (LAST, 2), (LAST, 2), (BEST, 3), ("mine.ckpt", 3)):
        save(tmp_path, n, name, file)
    save(tmp_path, 3, LAST, file)
    assert len(saved) == 6
    assert {path.name: number(path) for path in tmp_path.iterdir()} == {
        BEST: 3, "mine.ckpt": 3, LAST: 3, BEFORE: 2,
    }  # fmt: skip
    save(tmp_path, 4, BEST, file)
    save(tmp_path, 4, LAST, file)
    assert len(saved) == 7
    assert (tmp_path / LAST).samefile(tmp_path / BEST) == links
    save(tmp_path, 5, LAST, file)
    assert (number(tmp_path / BEST), number(tmp_path / LAST)) == (4, 5)


def test_a_checkpoint_is_that_of_the_step_although_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, write = threading.Event(), torch.save
    monkeypatch.setattr(torch, "save", lambda *args: [goes_on.wait(60), write(*args)])
    weights = torch.zeros(3)
    content = {"global_step": 1, "state": {"weights": weights, "same": weights[1:]}, "epochs": [1]}
    CheckpointFile().save_checkpoint(content, tmp_path / LAST)
    weights += 1
    content["epochs"].append(2)
    assert not (tmp_path / LAST).exists()
    goes_on.set()
    CheckpointFile.wait()
    found = torch.load(tmp_path / LAST, weights_only=True)
    assert found["epochs"] == [1]
    assert not found["state"]["weights"].any()
    assert found["state"]["same"].data_ptr() == found["state"]["weights"][1:].data_ptr()


def test_what_reads_a_checkpoint_waits_for_it(tmp_path: Path) -> None:
    file = CheckpointFile()
    file.save_checkpoint({"number": 7}, tmp_path / LAST)
    assert file.load_checkpoint(tmp_path / LAST)["number"] == 7


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for n in range(2):
        save(tmp_path, n)

    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(UsageError, match=r"last\.ckpt: cannot be written \(No space left") as told:
        save(tmp_path, 2)
    assert "\n" not in str(told.value)
    monkeypatch.undo()
    assert number(whole(tmp_path / LAST)) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {LAST, BEFORE}


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / f".{LAST}-k1ll3d").write_bytes(b"half of it")
    save(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_every_bit_of_a_tensor_counts_and_torch_does_not_see_it(tmp_path: Path) -> None:
    path = save(tmp_path, 7)
    assert damage(path) is None
    content = bytearray(path.read_bytes())
    place = content.find(torch.arange(5000, 5010).numpy().tobytes())
    assert place > 0
    content[place + 3] ^= 1
    path.write_bytes(content)
    assert number(path) == 7
    assert "data/0 differs from its checksum" in str(damage(path))


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_torn_file_is_damaged_however_much_is_there(tmp_path: Path, part: float) -> None:
    path = save(tmp_path, 0)
    os.truncate(path, int(part * path.stat().st_size))
    assert damage(path) is not None


def test_a_checkpoint_that_would_unpack_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    assert "compressed parts" in str(damage(path))


def test_the_one_before_is_used_and_named_in_place_of_a_damaged_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(2):
        save(tmp_path, n)
    assert whole(tmp_path / LAST) == tmp_path / LAST
    os.truncate(tmp_path / LAST, 1000)
    with caplog.at_level("WARNING"):
        assert number(whole(tmp_path / LAST)) == 0
    assert f"{tmp_path / LAST}: damaged" in caplog.text
    assert str(tmp_path / BEFORE) in caplog.text
    os.truncate(tmp_path / BEFORE, 1000)
    with pytest.raises(UsageError, match="there is none before it"):
        whole(tmp_path / LAST)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_does_not_sync_folders_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    for n in range(3):
        save(tmp_path, n)
    assert number(tmp_path / LAST) == 2
    assert [line for line in caplog.messages if "does not sync folders" in line] == [
        f"{tmp_path}: this file system does not sync folders ({os.strerror(code)}): a power "
        "failure may undo a checkpoint"
    ]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = save(tmp_path, 0)

    def refuse(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(UsageError, match=r"last\.ckpt: cannot be read \(.*it may be intact"):
        whole(path)
