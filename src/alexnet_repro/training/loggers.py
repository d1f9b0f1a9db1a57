"""Whether a W&B run can be online, and its end; loggers themselves are those of Lightning."""

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alexnet_repro.base.config import global_rank
from alexnet_repro.base.errors import UsageError

log = logging.getLogger(__name__)

PLACES = {
    "WANDB_CONFIG_DIR": "~/.config/wandb",
    "WANDB_CACHE_DIR": "~/.cache/wandb",
    "WANDB_DATA_DIR": "~/.local/share/wandb",
}
"""Where W&B writes beside the run, by the environment variable that says so."""


def wandb_mode() -> str | None:
    """``WANDB_MODE`` if that is set; else ``offline`` where a run cannot be online."""
    if global_rank() > 0:
        return None
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    if (reason := why_offline()) is None:
        return None
    log.info("W&B: offline, since %s", reason)
    return "offline"


def quiet() -> Any:
    """Settings of W&B with which it leaves the terminal to this program.

    Raises:
        UsageError: if it will not be able to write, which it would say after the training.
    """
    import wandb as client

    for variable, usual in PLACES.items():
        place = Path(os.environ.get(variable, usual)).expanduser()
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"logger=wandb: W&B writes to {place}, which it cannot ({error.strerror}); set "
                f"{variable}=FOLDER in the environment"
            ) from error

    settings = client.Settings(silent=True)
    client.setup(settings)
    return settings


def finish() -> None:
    """Close the W&B run of this process, if there is one: the next run of a sweep opens its own.

    Of a run that was offline it says how it is uploaded.
    """
    run = sys.modules["wandb"].run if "wandb" in sys.modules else None
    if run is not None:
        run.finish()
        if run.offline:
            log.info("W&B: upload it with: wandb sync '%s'", run.settings.sync_dir)


def why_offline() -> str | None:
    """Why a run cannot be online, or None if it can."""
    import wandb as client

    if os.environ.get("WANDB_MODE", "online") != "online":
        return f"WANDB_MODE={os.environ['WANDB_MODE']}"
    quiet()  # the first settings of a process are those that hold
    url = urlsplit(client.setup().settings.base_url)
    host, port = url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as error:
        return f"{host} cannot be reached ({error})"
    if not client.login(prompt=False):
        return "there is no API key (wandb login)"
    return None
