"""``make demo`` needs no network, and nothing in it asks for one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "alexnet_repro.train", "experiment=demo"]
SHORT = ["schedule.epochs=1", "trainer.limit_train_batches=3", "trainer.limit_val_batches=2"]
SHORT += ["trainer.limit_test_batches=2"]

RECORDING = """
import socket

def recording(name):
    original = getattr(socket.socket, name)
    def call(self, address, *rest):
        if self.family != socket.AF_UNIX:
            with open({record!r}, "a") as file:
                print(name, address, file=file)
        return original(self, address, *rest)
    setattr(socket.socket, name, call)

recording("connect")
recording("connect_ex")
look_up = socket.getaddrinfo

def getaddrinfo(host, *rest, **more):
    with open({record!r}, "a") as file:
        print("getaddrinfo", host, file=file)
    return look_up(host, *rest, **more)

socket.getaddrinfo = getaddrinfo
"""
"""``sitecustomize``, which Python imports first: what is asked for goes to a file."""


@pytest.mark.long
def test_the_command_of_make_demo_runs_in_a_namespace_without_network_and_asks_for_none(
    tmp_path: Path, cache: Path
) -> None:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0:
        pytest.skip("this process may not make a network namespace")
    record = tmp_path / "asked"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(RECORDING.format(record=str(record)))
    paths = [str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"ALEXNET_REPRO_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(paths)}

    def isolated(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["unshare", "-rn", *command],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=900,
        )

    # What is counted is counted, and there is no network.
    asking = "import urllib.request as r; r.urlopen('http://192.0.2.1', timeout=5)"
    assert "Network is unreachable" in isolated(sys.executable, "-c", asking).stderr
    assert "192.0.2.1" in record.read_text()
    record.unlink()
    done = isolated(*DEMO, *SHORT)
    assert done.returncode == 0, done.stderr
    assert not record.exists(), record.read_text()
    (result,) = tmp_path.glob("runs/demo/*/result.json")
    assert json.loads(result.read_text())["errors"]["ten"]["top1"] <= 100
    # It is the command that make demo runs.
    makefile = ROOT / "Makefile"
    assert "$(BIN)/python -m alexnet_repro.train experiment=demo\n" in makefile.read_text()
