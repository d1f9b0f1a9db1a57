"""The server of the page to try a network: on this machine, quiet, and with no memory.

Gradio writes an upload to a folder of its own before anybody sees it. That folder is a temporary
one here, which is deleted when the server ends, and what is in it some time before.
"""

import logging
import os
import signal
import threading
from importlib.util import find_spec

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import temporary_folder
from alexnet_repro.page.shown import Limits, Shown

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


def check_installed() -> None:
    """Raise a UsageError without Gradio."""
    if find_spec("gradio") is None:
        raise UsageError("serve: Gradio is not installed; pip install 'alexnet-repro[serve]'")


def serve(shown: Shown, limits: Limits, host: str, port: int) -> None:
    """Show the page until Ctrl-C or SIGTERM.

    Raises:
        UsageError: for what the user can put right.
    """
    # It tells of Gradio's requests to itself.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # A shell that starts a command in the background has it ignore Ctrl-C; containers send SIGTERM.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with temporary_folder() as uploads:
        # Gradio reads these when it is imported.
        os.environ |= {
            "GRADIO_TEMP_DIR": str(uploads),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "1",
        }
        from alexnet_repro.page.page import launched

        try:
            names = LOOPBACK if host in LOOPBACK else "*"
            blocks = launched(shown, limits, host, port, names)
        except OSError as error:
            raise UsageError(
                f"--host {host} --port {port}: cannot listen there; choose another port"
            ) from error
        try:
            log.info("http://%s:%d serves %s", host, port, shown.trained.path)
            if host not in LOOPBACK:
                log.warning(
                    "Anyone who can reach this machine can use the page: it has no password."
                )
            log.info("Press Ctrl-C to stop.")
            threading.Event().wait()
        except KeyboardInterrupt:
            log.info("Stopped; nothing was kept.")
        finally:
            blocks.close(verbose=False)
