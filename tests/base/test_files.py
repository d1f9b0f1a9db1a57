"""Files are written whole under their own name, and what a kill leaves the next process removes."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from alexnet_repro.base.config import composed
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import TEMPORARY, all_of, temporary_folder, user_path, write_text

HOLDING = """
import time
from alexnet_repro.base.files import temporary_folder
with temporary_folder() as folder:
    (folder / "upload.jpg").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_folder_is_removed_after_a_kill_and_left_alone_while_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "other").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        theirs = Path(one.stdout.readline().strip())
        assert theirs.parent == tmp_path
        with temporary_folder() as ours:
            assert (theirs / "upload.jpg").exists()
            assert ours.is_dir()
        one.send_signal(signal.SIGKILL)
    assert theirs.exists()
    with temporary_folder() as ours:
        assert [path.name for path in tmp_path.glob(f"{TEMPORARY}*")] == [ours.name]
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_file_that_cannot_be_written_is_called_by_its_name_not_by_a_temporary_one(
    tmp_path: Path,
) -> None:
    for path in (tmp_path / "nowhere" / "file", tmp_path / ("x" * 255)):
        with pytest.raises(OSError, match=r"\[Errno") as told:
            write_text(path, "something")
        assert told.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "folder", tmp_path / "pipe"):
        with pytest.raises(UsageError, match="not a regular file"):
            write_text(path, "something")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    full = RuntimeError("failed to write")
    full.__cause__ = OSError(errno.ENOSPC, "in the words of a library")
    with pytest.raises(OSError, match="No space left on device") as told, all_of(tmp_path / "a"):
        raise full
    assert told.value.filename == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_read_keeps_its_name_while_another_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as told, all_of(tmp_path / "a"):
        (tmp_path / "b").read_bytes()
    assert told.value.filename == str(tmp_path / "b")


def test_a_path_is_relative_to_where_the_command_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    assert user_path("images") == Path("images")
    for changes, meant in ((False, Path("images")), (True, tmp_path / "images")):
        config = composed("train", f"hydra.job.chdir={changes}", return_hydra_config=True)
        config.hydra.runtime.cwd = str(tmp_path)
        HydraConfig.instance().set_config(config)
        assert user_path("images") == meant
        assert user_path("/images") == Path("/images")
