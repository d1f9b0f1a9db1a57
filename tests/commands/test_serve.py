"""The page to try a network, in a browser: what it shows, whom it asks, and what it leaves."""

import asyncio
import io
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_repro.analysis.predictions import Prediction, predict
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.extras import require
from alexnet_repro.page.shown import Limits
from alexnet_repro.training.checkpoint import load_trained
from tests.forks import Forks

LIMITS = ("--max-megabytes=0.3", "--max-megapixels=1")
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        process: of it.
        port: of its page.
        temporary: the folder where it would put temporary files.
    """

    process: subprocess.Popen[str]
    port: int
    temporary: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def kept(self) -> list[Path]:
        return list(self.temporary.rglob("*"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"alexnet_repro.{name}", *map(str, arguments)]


def started(directory: Path, cache: Path, *arguments: object) -> Served:
    port, temporary = free_port(), directory / "temporary"
    temporary.mkdir()
    own = {"ALEXNET_REPRO_CACHE": str(cache), "TMPDIR": str(temporary)}
    # Proxies are for others: the server asks nobody, itself neither.
    own |= {"http_proxy": NOWHERE, "ALL_PROXY": "socks5://127.0.0.1:9"}
    process = subprocess.Popen(
        command("serve", f"--port={port}", *arguments),
        cwd=directory,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    before = ""
    for line in process.stdout:
        before += line
        if "Press Ctrl-C to stop" in line:
            return Served(process, port, temporary)
    raise AssertionError(before)


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> str:
    return f"--checkpoint={tiny_run / 'checkpoints' / 'last.ckpt'}"


@pytest.fixture(scope="module")
def served(
    checkpoint: str, tiny_images: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served")
    data = ("data=folder", f"data.source.root={tiny_images}", f"--index={directory / 'index'}")
    data += ("data.batch_size=8",)
    subprocess.run(
        command("retrieve", "build", checkpoint, *data),
        env=os.environ | {"ALEXNET_REPRO_CACHE": str(cache)},
        check=True,
        timeout=120,
    )
    server = started(directory, cache, checkpoint, *data, *LIMITS)
    yield server
    try:
        assert "Most probable" in answered(server, jpeg(60, 40))
        server.process.terminate()  # as the end of a container does
        output, _ = server.process.communicate(timeout=120)
    finally:
        server.process.kill()
    assert server.process.returncode == 0
    assert output == "Stopped; nothing was kept.\n"
    assert server.kept() == []


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real one if there are any, else a drawn one."""
    directory = tmp_path_factory.mktemp("photograph")
    archive = Path(os.environ.get("ALEXNET_REPRO_TEST_DATA", ".")) / "imagewoof-320.tar"
    if archive.is_file():
        with tarfile.open(archive) as photographs:
            member = next(one for one in photographs if one.name.endswith(".JPEG"))
            photographs.extract(member, directory, filter="data")
            return directory / member.name
    y, x = np.mgrid[:300, :400]
    drawn = np.stack([x % 256, y % 256, (x * y) % 256], 2).astype(np.uint8)
    Image.fromarray(drawn).save(directory / "drawn.jpg")
    return directory / "drawn.jpg"


def opened(browser: Any, url: str, width: int = 1280) -> tuple[Any, list[str]]:
    """The page, and the addresses of all it asks for from then on."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    page.locator("#upload input[type=file]").wait_for(state="attached")
    return page, asked


def drop(page: Any, name: str, content: bytes) -> None:
    file = {"name": name, "mimeType": "image/jpeg", "buffer": content}
    page.set_input_files("#upload input[type=file]", file)


@pytest.mark.long
@pytest.mark.parametrize("width", [380, 1280])
def test_a_photograph_gets_what_predict_says_and_ten_votes(
    browser: Any, served: Served, checkpoint: str, photograph: Path, width: int
) -> None:
    trained = load_trained(Path(checkpoint.removeprefix("--checkpoint=")))
    (said,) = predict(trained, [photograph], "ten", 5, 1)
    assert isinstance(said, Prediction)
    page, asked = opened(browser, served.url, width)
    drop(page, photograph.name, photograph.read_bytes())
    page.locator("#crops figure").first.wait_for()
    classes = [trained.classes[label] for label in said.labels]
    assert page.locator("#classes .class").all_inner_texts() == classes
    shown = page.locator("#classes .number").all_inner_texts()
    for text, probability in zip(shown, said.probabilities, strict=True):
        assert float(text.split()[0]) == pytest.approx(100 * probability, abs=0.06)
    assert page.locator("#crops figure").count() == 10
    assert page.locator("#columns .number").count() == 7
    assert page.locator("#nearest img").count() == 6
    assert page.evaluate(
        "[...document.querySelectorAll('.seen img')].every(i => i.complete && i.naturalWidth > 30)"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert {address for address in asked if address.startswith("http")}
    elsewhere = (address for address in asked if not address.startswith((served.url, "data:")))
    assert [address for address in elsewhere if not address.startswith("blob:")] == []
    page.close()


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "green").save(file, "JPEG")
    return file.getvalue()


@pytest.mark.long
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (jpeg(1200, 900), "it has 1200×900 pixels, 1 megapixels are the limit"),
        (jpeg(300, 200)[:400], "Truncated"),
        (b"<script>alert(1)</script>", "it is not a JPEG, PNG, WEBP, GIF or BMP image"),
    ],
    ids=["pixels", "torn", "text"],
)
def test_what_cannot_be_shown_is_said_in_a_line(
    browser: Any, served: Served, content: bytes, message: str
) -> None:
    page, _ = opened(browser, served.url)
    drop(page, "a.jpg", content)
    page.locator(".refusal").wait_for()
    assert message in page.locator(".refusal").inner_text()
    assert "Traceback" not in page.content()
    page.close()


def sent(server: Served, content: bytes, **headers: str) -> urllib.request.Request:
    """What a browser sends."""
    headers = {"Content-Type": "image/jpeg"} | headers
    return urllib.request.Request(f"{server.url}answer", data=content, headers=headers)


def answered(server: Served, content: bytes) -> str:
    with urllib.request.urlopen(sent(server, content), timeout=120) as response:
        told: str = response.read().decode()
    return told


def begun(server: Served, request: str) -> socket.socket:
    """A connection on which the lines of a request were sent."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall("".join(f"{line}\r\n" for line in request.split("\n")).encode())
    return connection


@pytest.mark.long
def test_a_photograph_over_the_limit_is_refused_while_it_arrives(served: Served) -> None:
    request = "POST /answer HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n"
    with begun(served, request) as connection:
        for _ in range(8):  # of 64 KiB, and more would follow
            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
        # Then nothing is read any more.
        with suppress(ConnectionResetError):
            while connection.recv(4096):
                pass


@pytest.mark.long
@pytest.mark.parametrize("asked", ["POST /nosuch", "PUT /answer", "GET /", "POST /"])
def test_what_is_answered_before_all_of_it_is_there_ends_its_connection(
    served: Served, asked: str
) -> None:
    request = f"{asked} HTTP/1.1\nHost: localhost\nContent-Length: 600000000\n"
    with begun(served, request) as connection:
        head, _, _ = connection.recv(4096).partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower().split(b"\r\n")


@pytest.mark.long
def test_a_connection_is_kept_for_what_its_visitor_sends_next(served: Served) -> None:
    with begun(served, "GET / HTTP/1.1\nHost: localhost\n") as connection:
        assert b"connection: close" not in connection.recv(4096).lower()


@pytest.mark.long
def test_visitors_who_send_the_same_photograph_at_once_are_all_answered(served: Served) -> None:
    with ThreadPoolExecutor(6) as visitors:
        told = list(visitors.map(lambda _: answered(served, jpeg(90, 70)), range(6)))
    assert all("Most probable" in one for one in told)
    assert served.kept() == []


@pytest.mark.long
def test_more_uploads_than_fit_are_told_to_come_again_and_room_is_made_by_who_leaves(
    served: Served,
) -> None:
    request = "POST /answer HTTP/1.1\nHost: localhost\nContent-Length: 1000\n"
    with ExitStack() as waiting:
        for _ in range(8):
            waiting.enter_context(begun(served, request))
        time.sleep(1)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            answered(served, jpeg(60, 40))
    time.sleep(1)
    assert "Most probable" in answered(served, jpeg(60, 40))


@pytest.mark.long
@pytest.mark.parametrize(
    "request_",
    [
        "GET / HTTP/1.1\nHost: [\n",
        "GET / HTTP/1.1\nHost: evil.example\n",
        "POST /answer HTTP/1.1\nHost: localhost\nOrigin: http://[\nContent-Length: 0\n",
        "POST /answer HTTP/1.1\nHost: localhost\nOrigin: null\nContent-Length: 0\n",
        "POST /answer HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\nnumber",
        "POST /answer HTTP/1.1\nHost: localhost\nContent-Length: -1\n",
        "POST / HTTP/1.1\nHost: localhost\nContent-Length: 0\n",
        "OPTIONS /answer HTTP/1.1\nHost: localhost\n",
        "GET /../../etc/passwd HTTP/1.1\nHost: localhost\n",
    ],
)
def test_a_forged_request_is_refused_without_an_error_of_the_server(
    served: Served, request_: str
) -> None:
    with begun(served, request_) as connection:
        assert re.match(rb"HTTP/1.1 4\d\d ", connection.recv(4096))


@pytest.mark.long
def test_a_body_that_is_no_photograph_is_said_to_be_none(served: Served) -> None:
    boundary = "x" * 5000
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\n'.encode()
    for content in (b"", body, body[:5000]):
        assert "cannot read this file" in answered(served, content)


@pytest.mark.long
def test_no_other_page_may_frame_this(served: Served) -> None:
    with urllib.request.urlopen(served.url, timeout=120) as response:
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("host", "origin", "taken"),
    [
        ("127.0.0.1:7860", None, True),
        ("127.0.0.1:7860", "http://127.0.0.1:7860", True),
        ("localhost:7860", "http://localhost:7860", True),
        ("[::1]:7860", "http://[::1]:7860", True),
        ("192.168.1.5", "http://192.168.1.5", True),
        ("lab.example", "https://lab.example", True),
        ("127.0.0.1:7860", "https://lab.example", True),
        ("evil.example", None, False),
        ("evil.example:7860", "http://evil.example:7860", False),
        ("127.0.0.1:7860", "http://evil.example", False),
        ("127.0.0.1:7860", "http://127.0.0.1:8888", False),
        ("127.0.0.1:7860", "http://127.0.0.1:7860.evil.example", False),
        ("lab.example.evil.example", None, False),
        ("127.0.0.1:7860", "null", False),
        ("", None, False),
    ],
)
def test_only_the_page_itself_and_names_that_were_given_may_ask(
    host: str, origin: str | None, taken: bool
) -> None:
    pytest.importorskip("starlette")
    from starlette.datastructures import Headers
    from starlette.exceptions import HTTPException

    from alexnet_repro.page.page import check_asker

    headers = Headers({"host": host} | ({} if origin is None else {"origin": origin}))
    if taken:
        check_asker(headers, {"lab.example"})
    else:
        with pytest.raises(HTTPException, match="403"):
            check_asker(headers, {"lab.example"})


def test_a_photograph_that_never_arrives_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("starlette")
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

    from alexnet_repro.page import page

    async def nothing() -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(page, "SECONDS", 0.01)
    arriving = page.received(Request({"type": "http"}, nothing), Limits(1, 1, 1, 1))
    # Playwright has a loop of its own in this thread.
    with ThreadPoolExecutor(1) as thread, pytest.raises(HTTPException, match="408"):
        thread.submit(asyncio.run, arriving).result()


@pytest.mark.long
def test_a_port_in_use_is_told_in_one_line(checkpoint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = subprocess.run(
            command("serve", checkpoint, f"--port={port}"),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 2
    assert re.fullmatch(f"error: .*--port {port}: cannot listen there; .*\n", done.stderr)


def test_without_its_server_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UsageError, match=r"pip install 'alexnet-repro\[serve\]'"):
        require("serve", "serve")


def test_a_file_that_is_no_checkpoint_is_told(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "no.ckpt").write_text("no")
    done = forks.run("-m", "alexnet_repro.serve", "--checkpoint=no.ckpt", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no.ckpt: not a checkpoint" in done.stderr


@pytest.mark.long
def test_on_a_phone_it_speaks_of_tapping_and_makes_room_for_the_answer(
    browser: Any, served: Served, photograph: Path
) -> None:
    page = browser.new_page(viewport={"width": 380, "height": 800}, has_touch=True, is_mobile=True)
    page.goto(served.url)
    area = page.locator("#upload")
    page.locator("#upload input[type=file]").wait_for(state="attached")
    assert page.get_by_text("Tap below to choose a photograph").is_visible()
    assert not page.get_by_text("Drop a photograph below").is_visible()
    before = area.bounding_box()["height"]
    drop(page, photograph.name, photograph.read_bytes())
    page.locator("#crops figure").first.wait_for()
    assert area.bounding_box()["height"] < min(80, before)
    page.close()
