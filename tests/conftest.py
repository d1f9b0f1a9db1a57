"""A small set of images, and a run on it as a user makes it."""

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported: two threads on cores that others use too wait for each other most of
# the time.
os.environ["OMP_NUM_THREADS"] = "1"

from alexnet_repro.base.system import usable_cores

from .forks import Forks
from .soak.images import noise_images

SKIPPED_IN_CI = {
    "started as root": "the CI of GitHub runs as another user",
    "CUDA device": "there is no GPU",
    "ALEXNET_REPRO_TEST_DATA": "the photographs are not part of the repository",
    "timm is not installed": "no part of the package needs it",
    "could not import 'mlflow'": "an extra that brings a web server and a database",
}
"""What the reasons say of tests that CI may skip, and why it may; another one fails there."""
MEMORY = 3 * 2**30
"""Bytes, about, that the tests of one process take, with the commands that they start."""


def pytest_xdist_auto_num_workers() -> int:
    """For ``--numprocesses auto``: a process for each core, if they have the memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(usable_cores(), memory // MEMORY))


LONGEST = ("test_notebooks", "test_slurm", "test_records")
"""Modules of which the long tests take minutes, from the longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins at once, lest one process be left with it at the end."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and "CI" in os.environ and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if not any(part in reason for part in SKIPPED_IN_CI):
            report.outcome, report.longrepr = "failed", f"may not be skipped in CI: {reason}"
    return report


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noise images in as many hues: 8 train, 3 val and 3 test images each."""
    return noise_images(tmp_path_factory.mktemp("images") / "tiny", train=8, others=3)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all processes of a session: what one prepares, the others find."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def forks(cache: Path) -> Iterator[Forks]:
    """Starts commands, which share a folder of prepared images."""
    with Forks(ALEXNET_REPRO_CACHE=str(cache)) as started:
        yield started


@pytest.fixture(scope="session")
def tiny(tiny_images: Path) -> list[str]:
    """Arguments for a very narrow network on :func:`tiny_images`."""
    network = ["model=alexnet_small", "model.width=0.1"]
    return [*network, "data=folder", f"data.source.root={tiny_images}", "data.batch_size=8"]


@pytest.fixture(scope="session")
def tiny_run(tiny: list[str], forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch with the arguments of :func:`tiny`."""
    directory = tmp_path_factory.mktemp("tiny_run")
    command = ["-m", "alexnet_repro.train", *tiny, "schedule.epochs=1"]
    forks.run(*command, f"hydra.run.dir={directory}", cwd=directory).check_returncode()
    return directory


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    executable = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if executable is None:
        pytest.skip("there is no chromium or google-chrome on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-sync"]
        quiet += ["--disable-background-networking", "--disable-component-update"]
        opened = started.chromium.launch(executable_path=executable, args=quiet)
        yield opened
        opened.close()
