"""Whether a W&B run can be online, and the end of loggers, which themselves are Lightning's."""

import functools
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

from lightning.pytorch.loggers import Logger

from alexnet_repro.base.config import global_rank
from alexnet_repro.base.errors import UsageError, one_line

log = logging.getLogger(__name__)

ended: WeakSet[Logger] = WeakSet()

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


ENDING = ("log_metrics", "after_save_checkpoint", "save", "finalize")
"""What a logger does while a run trains and as it ends."""


def outlived(logger: Logger) -> Logger:
    """``logger``, whose end, as that of its process or server, is told and ends no training."""
    for name in ENDING:
        setattr(logger, name, functools.partial(attempt, logger, getattr(logger, name)))
    return logger


def attempt(logger: Logger, call: Callable[..., None], *arguments: Any, **options: Any) -> None:
    """Call something of a logger, unless that has ended."""
    if logger in ended:
        return
    try:
        call(*arguments, **options)
    except Exception as error:  # each has errors of its own
        ended.add(logger)
        told = "%s ended (%s): training continues without it"
        log.warning(told, type(logger).__name__, one_line(error))


def begin(logger: Logger, config: dict[str, Any]) -> None:
    """Give a logger the configuration of the run, with which those that use a server open it.

    Raises:
        UsageError: with what it refused it for: nothing has been trained by then.
    """
    try:
        logger.log_hyperparams(config)
    except Exception as error:  # each has errors of its own
        raise UsageError(f"logger: {type(logger).__name__}: {one_line(error)}") from error


def finish() -> None:
    """Close the W&B run of this process, if there is one: the next run of a sweep opens its own.

    Of a run that was offline it says how it is uploaded.
    """
    client: Any = sys.modules.get("wandb")
    if client is None or (run := client.run) is None:
        return
    try:
        run.finish()
    except Exception:  # its process has been killed, as was told; nothing of it is to stay
        with suppress(Exception):
            client.teardown()
        client.run = None
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
