"""What a killed process leaves in the system's temporary folder, the next one removes."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from alexnet_repro.base.files import TEMPORARY, temporary_folder

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
