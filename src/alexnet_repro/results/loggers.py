"""Loggers beside the CSV file: Weights & Biases and TensorBoard."""

import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from alexnet_repro.errors import UsageError

log = logging.getLogger(__name__)


def tensorboard(save_dir: str) -> TensorBoardLogger:
    """TensorBoard event files in ``save_dir/tensorboard``."""
    try:
        return TensorBoardLogger(save_dir, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise UsageError(
            "logger=tensorboard: TensorBoard is not installed; "
            "pip install 'alexnet-repro[tensorboard]'"
        ) from error


class Wandb(WandbLogger):
    """A W&B run.

    Attributes:
        checkpoints: whether it keeps them, as an artifact.
    """

    def __init__(self, run: Any, checkpoints: bool) -> None:
        super().__init__(experiment=run)
        self.checkpoints = checkpoints


def wandb(
    save_dir: str,
    project: str,
    name: str,
    group: str | None = None,
    mode: Literal["online", "offline"] | None = None,
    checkpoints: bool = False,
) -> Wandb:
    """A Weights & Biases run; offline, with a word on how to upload it, where it cannot be online.

    Args:
        save_dir: folder that gets ``wandb/``.
        project, name: of the run.
        group: runs that belong together, such as those of a sweep.
        mode: None decides by whether there is an API key and the server can be reached.
        checkpoints: keep the best and the last one as an artifact.
    """
    import wandb as client

    reason = "logger.wandb.mode=offline" if mode == "offline" else None
    if mode is None:
        reason = why_offline()
    if reason is not None:
        log.info(
            "W&B: offline, since %s; upload later with: wandb sync '%s'/wandb/offline-run-*",
            reason,
            save_dir,
        )
    run = client.init(
        name=name,
        project=project,
        group=group,
        dir=save_dir,
        mode="online" if reason is None else "offline",
        settings=client.Settings(silent=True),
    )
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return Wandb(run, checkpoints)


def wandb_pictures(loggers: Mapping[str, Any], directory: Path) -> list[Callback]:
    """What ``logger=wandb`` shows beside curves; matplotlib and wandb take a second to import."""
    if "wandb" not in loggers:
        return []
    from alexnet_repro.results.wandb_pictures import WandbPictures

    return [WandbPictures(directory)]


def finish() -> None:
    """Close the W&B run of this process, if there is one: the next run of a sweep opens its own."""
    if "wandb" in sys.modules:
        sys.modules["wandb"].finish()


def why_offline() -> str | None:
    """Why a run cannot be online, or None if it can."""
    import wandb as client

    if os.environ.get("WANDB_MODE", "online") != "online":
        return f"WANDB_MODE={os.environ['WANDB_MODE']}"
    url = urlsplit(client.setup().settings.base_url)
    host, port = url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as error:
        return f"{host} cannot be reached ({error})"
    if not client.login(prompt=False):
        return "there is no API key (wandb login)"
    return None
