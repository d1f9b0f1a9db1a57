"""The page to try a network, in a browser: what it shows, whom it asks, and what it leaves."""

import io
import json
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet_repro.analysis.predictions import Prediction, predict
from alexnet_repro.base.errors import UsageError
from alexnet_repro.page.server import check_installed
from alexnet_repro.training.checkpoint import load_trained
from tests.forks import Forks

LIMITS = ("--max-megabytes=0.3", "--max-megapixels=1")


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        process: of it.
        url: of its page.
        temporary: the folder where it puts temporary files.
    """

    process: subprocess.Popen[str]
    url: str
    temporary: Path

    def kept(self) -> list[Path]:
        """The files in the folders that the server made."""
        return [path for path in self.temporary.rglob("alexnet_repro_*/**/*") if path.is_file()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"alexnet_repro.{name}", *map(str, arguments)]


def started(directory: Path, cache: Path, *arguments: object) -> Served:
    port = free_port()
    process = subprocess.Popen(
        command("serve", f"--port={port}", *arguments),
        cwd=directory,
        env=os.environ | {"ALEXNET_REPRO_CACHE": str(cache), "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    before = ""
    for line in process.stdout:
        before += line
        if "Press Ctrl-C to stop" in line:
            return Served(process, f"http://127.0.0.1:{port}/", directory)
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
        urllib.request.urlopen(upload(server, jpeg(60, 40)), timeout=120).close()
        assert server.kept()
        server.process.terminate()  # as the end of a container does
        output, _ = server.process.communicate(timeout=120)
    finally:
        server.process.kill()
    assert server.process.returncode == 0
    assert output.endswith("Stopped; nothing was kept.\n")
    assert list(directory.glob("alexnet_repro_*")) == []


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
        (b"<script>alert(1)</script>", "it is not a JPEG, PNG, WEBP, GIF, BMP image"),
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


def upload(server: Served, content: bytes) -> urllib.request.Request:
    """What a browser sends."""
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    return urllib.request.Request(
        f"{server.url}gradio_api/upload",
        data=head + content + b"\r\n--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )


@pytest.mark.long
def test_a_file_over_the_limit_is_refused_before_it_is_all_there(served: Served) -> None:
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(upload(served, bytes(400_000)), timeout=120)
    assert all(path.stat().st_size < 0.3 * 2**20 for path in served.kept())


def answered(server: Served, path: str, session: str) -> str:
    """The events of a program that names ``path`` as its upload."""
    file = {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
    join = urllib.request.Request(
        f"{server.url}gradio_api/queue/join",
        data=json.dumps({"data": [file], "fn_index": 0, "session_hash": session}).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(join, timeout=120).close()
    events = f"{server.url}gradio_api/queue/data?session_hash={session}"
    with urllib.request.urlopen(events, timeout=120) as stream:
        told: str = stream.read().decode()
    return told


@pytest.mark.long
def test_visitors_with_the_same_photograph_are_both_answered(served: Served) -> None:
    for session in ("first", "second"):
        with urllib.request.urlopen(upload(served, jpeg(90, 70)), timeout=120) as response:
            (path,) = json.load(response)
        assert "Most probable" in answered(served, path, session)


@pytest.mark.long
def test_an_upload_is_deleted_after_a_minute_though_nobody_asks_about_it(served: Served) -> None:
    urllib.request.urlopen(upload(served, jpeg(61, 40)), timeout=120).close()
    assert served.kept()
    ends = time.monotonic() + 90
    while served.kept() and time.monotonic() < ends:
        time.sleep(1)
    assert served.kept() == []


@pytest.mark.long
def test_a_name_that_another_page_leads_here_is_refused_and_no_page_may_frame_this(
    served: Served,
) -> None:
    with urllib.request.urlopen(served.url, timeout=120) as response:
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    rebound = urllib.request.Request(served.url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(rebound, timeout=120)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["file", "address"])
def test_a_forged_request_reads_deletes_and_fetches_nothing(
    served: Served, tmp_path: Path, kind: str
) -> None:
    """As from a program that names, in place of its upload, a file or an address of its choice."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(60, 40))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.jpg"
        path = str(secret) if kind == "file" else address
        told = answered(served, path, kind)
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert "process_completed" in told
    assert "Most probable" not in told
    assert secret.is_file()


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


def test_without_gradio_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UsageError, match=r"pip install 'alexnet-repro\[serve\]'"):
        check_installed()


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
