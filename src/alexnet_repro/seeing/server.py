"""The server of the page to try a network: on this machine, quiet, and with no memory.

Gradio writes an upload to a folder of its own before anybody sees it. That folder is a temporary
one here, the file is deleted as soon as it has been read, and the folder when the server ends.
"""

import logging
import os
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from alexnet_repro.errors import UsageError
from alexnet_repro.seeing.shown import network_of

log = logging.getLogger(__name__)


def check_address(host: str, port: int) -> None:
    """Raises UsageError if nothing can listen there, before anything slow is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"host={host} port={port}: cannot listen there ({reason}); choose another port=…"
        ) from error


def serve(values: Mapping[str, Any]) -> None:
    """Show the page of a validated configuration until Ctrl-C or SIGTERM.

    Raises:
        UsageError: for what the user can put right.
    """
    if find_spec("gradio") is None:
        raise UsageError(
            "alexnet_repro.serve: Gradio is not installed; pip install 'alexnet-repro[serve]'"
        )
    shown = network_of(values)
    # It tells of Gradio's requests to itself.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with _temporary_uploads(), ends_by_signal():
        from alexnet_repro.seeing.page import launched

        blocks = launched(shown, values)
        try:
            log.info("http://%s:%d shows %s", values["host"], values["port"], values["checkpoint"])
            if not _is_loopback(values["host"]):
                log.warning("Whoever reaches this machine can use the page: it has no password.")
            log.info("Ctrl-C ends it.")
            while True:
                signal.pause()
        except KeyboardInterrupt:
            log.info("Ended; nothing was kept.")
        finally:
            blocks.close(verbose=False)


@contextmanager
def _temporary_uploads() -> Iterator[None]:
    """What Gradio reads from the environment when it is imported: be quiet, keep uploads here."""
    with tempfile.TemporaryDirectory(
        prefix="alexnet_repro_serve_", ignore_cleanup_errors=True
    ) as directory:
        os.environ |= {
            "GRADIO_TEMP_DIR": str(Path(directory)),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "1",
        }
        yield


@contextmanager
def ends_by_signal() -> Iterator[None]:
    """Within it SIGTERM and Ctrl-C raise KeyboardInterrupt: uploads are deleted on either."""
    # A shell that starts a command in the background has it ignore Ctrl-C.
    both = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, signal.default_int_handler) for number in both]
    try:
        yield
    finally:
        for number, handler in zip(both, before, strict=True):
            signal.signal(number, handler)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
