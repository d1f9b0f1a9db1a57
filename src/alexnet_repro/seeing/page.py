"""The page to try a network: a photograph in, the answer and how it came about out."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from starlette.middleware import Middleware

from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.data.store import StoredSplit
from alexnet_repro.errors import UsageError
from alexnet_repro.learning.checkpoint import Trained
from alexnet_repro.seeing.features import features, labelled_images
from alexnet_repro.seeing.images import UPLOAD_FORMATS, Damaged, read_upload
from alexnet_repro.seeing.index import ImageIndex, open_index
from alexnet_repro.seeing.paper_style import COLUMN_COLOURS
from alexnet_repro.seeing.predictions import class_text, trained_with_words
from alexnet_repro.seeing.votes import answer

TITLE = "What AlexNet sees"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""Content-Security-Policy: the page may ask nobody but this server."""

CSS = "footer {display: none !important}"


@dataclass(frozen=True)
class Shown:
    """What the page is about.

    Attributes:
        trained: the network.
        index: of its training images, if there is one.
        pictures: the images of the index, if they are there.
    """

    trained: Trained
    index: ImageIndex | None
    pictures: StoredSplit | None


def network_of(values: Mapping[str, Any]) -> Shown:
    """The network, index and images of a validated configuration.

    Raises:
        UsageError: if they cannot be read, or do not belong together.
    """
    trained = trained_with_words(values)
    if values["index"] is None:
        return Shown(trained, None, None)
    index = open_index(Path(values["index"]).expanduser())
    index.check_network(trained.path)
    if values["data"] is None:
        return Shown(trained, index, None)
    train = labelled_images(values["data"], trained).store.splits["train"]
    if [train.name(i) for i in range(len(train))] != list(index.names):
        raise UsageError(f"data: not the images that index={index.directory} was built of")
    return Shown(trained, index, train)


def _taken(payload: Any) -> bytes | None:
    """The bytes of an upload, whose file is deleted."""
    if payload is None:
        return None
    path = Path(payload.path)
    try:
        return path.read_bytes()
    except FileNotFoundError:  # another visitor's upload of the same file was read first
        return None
    finally:
        path.unlink(missing_ok=True)


def launched(shown: Shown, values: Mapping[str, Any]) -> Any:
    """The page, being served in threads of its own, as Gradio's ``Blocks``."""
    megabytes, megapixels = values["max_megabytes"], values["max_megapixels"]
    about = partial(_html, "head", title=TITLE, trained=shown.trained)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gr.HTML(about())
        upload = gr.File(
            label=f"A photograph ({', '.join(UPLOAD_FORMATS)}; at most {megabytes:g} MB and "
            f"{megapixels:g} megapixels; it is not kept)",
            file_types=["image"],
            height=150,
            elem_id="upload",
        )
        # In place of a subclass, for which Gradio would write a file beside this module.
        upload.preprocess = _taken
        said = gr.HTML(elem_id="said")
        upload.upload(
            lambda content: (None, said_of(shown, content, values)),
            upload,
            [upload, said],
            api_visibility="private",
            concurrency_limit=1,
        )
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    blocks.queue(max_size=32).launch(
        server_name=values["host"],
        server_port=values["port"],
        share=False,
        ssr_mode=False,
        pwa=False,
        inbrowser=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        footer_links=[],
        enable_monitoring=False,
        max_file_size=round(megabytes * 1e6),
        theme=gr.themes.Base(font=fonts, font_mono=mono),
        css=CSS,
        app_kwargs={"middleware": [Middleware(Policy)]},
    )
    return blocks


class Policy:
    """ASGI middleware that sends :data:`POLICY` with every response."""

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


def said_of(shown: Shown, content: bytes | None, values: Mapping[str, Any]) -> str:
    """The answer to an uploaded file as HTML; of one that is no image, why."""
    trained = shown.trained
    if content is None:
        return _html("refusal", reason="it did not arrive; try again")
    orientation = trained.config["data"].get("exif_orientation", "ignore")
    most = values["max_megapixels"] * 1e6
    image = read_upload(content, trained.image_size, orientation, most)
    if isinstance(image, Damaged):
        return _html("refusal", reason=image.reason)
    found = answer(trained, image, values["top"])
    return _html(
        "answer",
        answer=found,
        words=partial(class_text, trained),
        picture=_data_uri,
        image=image,
        zip=zip,
        nearest=_nearest(shown, image, values["neighbours"]),
        colours=COLUMN_COLOURS,
    )


def _nearest(shown: Shown, image: Pixels, count: int) -> list[dict[str, Any]]:
    if shown.index is None:
        return []
    fc7 = features(shown.trained, torch.from_numpy(np.array(image)[None]))["fc7"].numpy()
    ((*found,),) = shown.index.nearest(fc7, count)
    return [
        {
            "name": shown.index.names[place],
            "class": shown.index.classes[shown.index.labels[place]],
            "distance": distance,
            "pixels": None if shown.pictures is None else shown.pictures.image(place),
        }
        for place, distance in found
    ]


def _data_uri(pixels: Pixels) -> str:
    """An image within the page itself, so that no file is written for it."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _html(part: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("alexnet_repro.seeing", ""),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html.jinja").render(part=part, **values)
