"""W&B is online where it can be and offline where it cannot, and says why."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb as client
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger

from alexnet_repro.base.errors import UsageError
from alexnet_repro.training.loggers import begin, finish, outlived, quiet, wandb_mode


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
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        with caplog.at_level(logging.INFO):
            assert wandb_mode() == "offline"
    assert "W&B: offline, since there is no API key" in caplog.text


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_wandb_mode_of_the_environment_is_respected(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    run = WandbLogger("name", str(tmp_path), mode=wandb_mode(), settings=quiet()).experiment
    assert run.disabled == (mode == "disabled")
    assert run.offline == (mode == "offline")


def test_each_run_of_a_process_is_its_own_and_says_how_it_is_uploaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = []
    for name in ("first", "second"):
        names.append(WandbLogger(name, str(tmp_path), mode="offline").experiment.name)
        with caplog.at_level(logging.INFO):
            finish()
    assert names == ["first", "second"]
    runs = list(tmp_path.glob("wandb/offline-run-*"))
    assert len(runs) == 2
    for run in runs:
        assert f"wandb sync '{run}'" in caplog.text


class Unreachable(DummyLogger):
    """One whose server refuses everything."""

    asked = 0

    def log_hyperparams(self, *arguments: Any, **options: Any) -> None:
        raise ConnectionError("no\nserver")

    def log_metrics(self, *arguments: Any, **options: Any) -> None:
        self.asked += 1
        raise ConnectionError("no\nserver")


def test_a_logger_that_cannot_begin_is_a_mistake() -> None:
    with pytest.raises(UsageError, match=r"^logger: Unreachable: no server$"):
        begin(Unreachable(), {})


def test_a_logger_that_ends_is_told_once_and_not_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = outlived(Unreachable())
    for step in range(3):
        logger.log_metrics({"loss": 1.0}, step)
    logger.finalize("success")
    assert logger.asked == 1  # type: ignore[attr-defined]
    assert caplog.messages == ["Unreachable ended (no server): training continues without it"]
