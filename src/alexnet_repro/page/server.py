"""The server of the page to try a network: on this machine, quiet, and with no memory."""

import logging
import signal
import socket
from collections.abc import Collection

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.extras import installed
from alexnet_repro.page.shown import Limits, Shown

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_installed() -> None:
    """Raise a UsageError without the packages of the extra."""
    if not installed("serve"):
        raise UsageError("serve: its server is not installed; pip install 'alexnet-repro[serve]'")


def serve(shown: Shown, limits: Limits, host: str, port: int, names: Collection[str]) -> None:
    """Show the page until Ctrl-C or SIGTERM.

    Args:
        names: by which the server may be asked, beside its own.

    Raises:
        UsageError: if it cannot listen there.
    """
    import uvicorn

    from alexnet_repro.page.page import application

    # A shell that starts a command in the background has it ignore Ctrl-C; containers send SIGTERM.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    config = uvicorn.Config(
        application(shown, limits, {name.lower() for name in names}),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    with _listening(host, port) as listener:
        shown_host = f"[{host}]" if ":" in host else host
        log.info("http://%s:%d serves %s", shown_host, port, shown.trained.path)
        if host not in LOOPBACK:
            log.warning("Anyone who can reach this machine can use the page: it has no password.")
        log.info("Press Ctrl-C to stop.")
        try:
            uvicorn.Server(config).run([listener])
        except KeyboardInterrupt:
            log.info("Stopped; nothing was kept.")


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UsageError(
            f"--host {host} --port {port}: cannot listen there; choose another port"
        ) from error
