"""The page to try a network: a photograph in, the answer and how it came about out.

A photograph is the body of a request: read into memory up to a limit, answered, and forgotten. None
is ever written to the disk.
"""

import asyncio
import base64
import io
import socket
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alexnet_repro.analysis.images import UPLOAD_FORMATS, Damaged, read_upload
from alexnet_repro.analysis.predictions import class_text
from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.figures.paper_style import COLUMN_COLOURS, RED
from alexnet_repro.page.shown import Limits, Shown, nearest
from alexnet_repro.page.votes import answer

AT_ONCE = 8
"""Photographs that are being sent or wait for their answer: as many are in memory at most."""
SECONDS = 60
"""Within which a photograph has to be there."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The page may ask nobody but this server, nor be part of another."""

SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
TEMPLATES = Environment(
    loader=PackageLoader("alexnet_repro.page", ""), autoescape=True, undefined=StrictUndefined
)


def application(shown: Shown, limits: Limits, names: Collection[str]) -> Starlette:
    """The page, and the answers to what is sent from it.

    Args:
        names: by which the server may be asked, beside its own (see :func:`check_asker`).
    """
    in_memory, computing = asyncio.Semaphore(AT_ONCE), asyncio.Lock()

    async def page(request: Request) -> Response:
        check_asker(request.headers, names)
        head = _html("page", trained=shown.trained, formats=UPLOAD_FORMATS, limits=limits, red=RED)
        return HTMLResponse(head, headers=HEADERS)

    async def script(request: Request) -> Response:
        return Response(SCRIPT, media_type="text/javascript", headers=HEADERS)

    async def answered(request: Request) -> Response:
        check_asker(request.headers, names)
        if in_memory.locked():
            raise HTTPException(503, "Too many photographs at once: try again in a moment.")
        async with in_memory:
            content = await received(request, limits)
            async with computing:
                said = await run_in_threadpool(said_of, shown, content, limits)
        return HTMLResponse(said, headers=HEADERS)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/page.js", script),
            Route("/answer", answered, methods=["POST"]),
        ],
        middleware=[Middleware(CloseUnread)],
    )


class CloseUnread:
    """Ends the connection of a request that is answered before all of it has been read.

    The server would read the rest, however much there is, to take the next request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        unread = not names.isdisjoint((b"content-length", b"transfer-encoding"))

        async def reading() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and bool(message.get("more_body"))
            return message

        async def answering(message: Message) -> None:
            if message["type"] == "http.response.start" and unread:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self.app(scope, reading, answering)


def check_asker(headers: Headers, names: Collection[str]) -> None:
    """Refuse a browser that another page sends here, or has led here under a name of its own.

    The server answers to ``localhost``, to the name of its machine, to any address in numbers,
    which no page can have lead elsewhere, and to ``names``.

    Raises:
        HTTPException: 403.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    asked = _name(f"//{host}")
    own = {"localhost", socket.gethostname().lower(), *names}
    if asked not in own and not _is_address(asked):
        raise HTTPException(403, "This server has another name: add it with --name.")
    # Behind a proxy, the page is at the proxy's address, and the server asked by another.
    if origin is not None and origin.partition("//")[2] != host and _name(origin) not in names:
        raise HTTPException(403, "Another page sent this request.")


def _name(url: str) -> str:
    """The name of the server in a URL; empty if it has none."""
    with suppress(ValueError):
        return urlsplit(url).hostname or ""
    return ""


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


async def received(request: Request, limits: Limits) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: 413 as soon as it is over the limit, 408 if it does not arrive.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.bytes:
                    raise HTTPException(413, f"The limit is {limits.megabytes:g} MB.")
    except (TimeoutError, ClientDisconnect) as error:
        raise HTTPException(408, f"It did not arrive within {SECONDS} seconds.") from error
    return bytes(content)


def said_of(shown: Shown, content: bytes, limits: Limits) -> str:
    """The answer to an uploaded file as HTML; of one that is no image, why."""
    trained = shown.trained
    orientation = trained.config["data"].get("exif_orientation", "ignore")
    most = limits.megapixels * 1e6
    image = read_upload(content, trained.image_size, orientation, most)
    if isinstance(image, Damaged):
        return _html("refusal", reason=image.reason)
    found = answer(trained, image, limits.top)
    return _html(
        "answer",
        answer=found,
        words=partial(class_text, trained),
        picture=_data_uri,
        image=image,
        zip=zip,
        nearest=nearest(shown, image, limits.neighbours),
        colours=COLUMN_COLOURS,
    )


def _data_uri(pixels: Pixels) -> str:
    """An image within the page itself, so that no file is written for it."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _html(part: str, **values: Any) -> str:
    return TEMPLATES.get_template("page.html.jinja").render(part=part, **values)
