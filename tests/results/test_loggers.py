"""W&B is online where it can be and offline where it cannot, and says why."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb as client

from alexnet_repro.results.loggers import finish, wandb


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield
    finish()
    client.teardown()


def test_without_a_key_it_is_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        with caplog.at_level(logging.INFO):
            logger = wandb(str(tmp_path), "project", "name", None, None, False)
    assert logger.experiment.settings.mode == "offline"
    assert "offline, since there is no API key" in caplog.text
    assert f"wandb sync '{tmp_path}'/wandb/offline-run-*" in caplog.text


def test_wandb_mode_of_the_environment_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with caplog.at_level(logging.INFO):
        wandb(str(tmp_path), "project", "name", None, None, False)
    assert "offline, since WANDB_MODE=offline" in caplog.text


def test_each_run_of_a_process_is_its_own(tmp_path: Path) -> None:
    names = []
    for name in ("first", "second"):
        names.append(wandb(str(tmp_path), "project", name, None, "offline", False).experiment.name)
        finish()
    assert names == ["first", "second"]
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
