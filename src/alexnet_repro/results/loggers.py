"""Loggers beside the CSV file: Weights & Biases and TensorBoard."""

import logging
import os
import socket
from typing import Literal
from urllib.parse import urlsplit

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


def wandb(
    save_dir: str, project: str, name: str, mode: Literal["online", "offline"] | None
) -> WandbLogger:
    """A Weights & Biases run; offline, with a word on how to upload it, where it cannot be online.

    Args:
        save_dir: folder that gets ``wandb/``.
        project, name: of the run.
        mode: None decides by whether there is an API key and the server can be reached.
    """
    reason = "logger.wandb.mode=offline" if mode == "offline" else None
    if mode is None:
        reason = _why_offline()
    if reason is not None:
        log.info(
            "W&B: offline, since %s; upload later with: wandb sync %s/wandb/offline-run-*",
            reason,
            save_dir,
        )
    return WandbLogger(name=name, project=project, save_dir=save_dir, offline=reason is not None)


def _why_offline() -> str | None:
    """Why a run cannot be online, or None if it can."""
    import wandb as client

    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return f"WANDB_MODE={os.environ['WANDB_MODE']}"
    if not (os.environ.get("WANDB_API_KEY") or client.api.api_key):
        return "there is no API key (wandb login)"
    url = urlsplit(client.setup().settings.base_url)
    host, port = url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
    try:
        with socket.create_connection((host, port), timeout=3):
            return None
    except OSError as error:
        return f"{host} cannot be reached ({error})"
