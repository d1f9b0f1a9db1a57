"""Commands in real processes, started by one that has imported torch."""

from collections.abc import Iterator

import pytest

from .killing import Starter


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    with Starter(tmp_path_factory.mktemp("cache")) as started:
        yield started
