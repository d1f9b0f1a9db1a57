"""The page to try a network: a photograph in, the answer and how it came about out."""

import base64
import io
from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from alexnet_repro.analysis.images import UPLOAD_FORMATS, Damaged, read_upload
from alexnet_repro.analysis.predictions import class_text
from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.figures.paper_style import COLUMN_COLOURS, RED
from alexnet_repro.page.shown import Limits, Shown, nearest
from alexnet_repro.page.votes import answer

TITLE = "What AlexNet sees"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy: the page may ask nobody but this server, nor be part of another."""

DELETED_AFTER = (10, 60)
"""Seconds: how often uploads are looked through, and the age at which they are deleted."""

TEMPLATES = Environment(
    loader=PackageLoader("alexnet_repro.page", ""), autoescape=True, undefined=StrictUndefined
)

CSS = f"""footer {{display: none !important}}
.refusal {{border-left: 4px solid {RED}; padding-left: 1rem}}
.finger {{display: none}}
@media (pointer: coarse) {{
  .finger {{display: inline}} .mouse {{display: none}}
  #upload .wrap {{font-size: 0}}
  #upload .wrap::after {{content: "Tap to choose a photograph"; font-size: 1rem}}
}}"""


def launched(shown: Shown, limits: Limits, host: str, port: int, names: Sequence[str]) -> Any:
    """The page, being served in threads of its own, as Gradio's ``Blocks``.

    Args:
        names: of the server, by which it may be asked: another page can have its own lead here.
    """
    head = _html(
        "head",
        title=TITLE,
        trained=shown.trained,
        formats=UPLOAD_FORMATS,
        megabytes=limits.megabytes,
        megapixels=limits.megapixels,
    )
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=DELETED_AFTER) as blocks:
        gr.HTML(head)
        upload = gr.File(
            label="Photograph",
            file_types=["image"],
            height=150,
            elem_id="upload",
            type="binary",
        )
        said = gr.HTML(elem_id="said")
        upload.upload(
            lambda content: (None, said_of(shown, content, limits)),
            upload,
            [upload, said],
            api_visibility="private",
            concurrency_limit=1,
        )
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    blocks.queue(max_size=32).launch(
        server_name=host,
        server_port=port,
        share=False,
        ssr_mode=False,
        pwa=False,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        footer_links=[],
        enable_monitoring=False,
        max_file_size=round(limits.megabytes * 2**20),
        theme=gr.themes.Base(font=fonts, font_mono=mono),
        css=CSS,
        app_kwargs={"middleware": [Middleware(Policy), Middleware(TrustedHostMiddleware, names)]},
    )
    return blocks


class Policy:
    """ASGI middleware that sends :data:`POLICY` with every response: Gradio has no key for it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY.encode())
                private = (b"referrer-policy", b"no-referrer")
                message = message | {"headers": [*message.get("headers", ()), policy, private]}
            await send(message)

        await self.app(scope, receive, with_policy)


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
