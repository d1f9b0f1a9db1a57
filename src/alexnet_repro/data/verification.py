"""Whether a store still holds what was written into it."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alexnet_repro.console import counting
from alexnet_repro.cores import usable_cores
from alexnet_repro.data.manifest import checksum, checksums
from alexnet_repro.data.store import open_store
from alexnet_repro.errors import UsageError

log = logging.getLogger(__name__)


def verify(directory: Path) -> None:
    """Compare every file of a store with its checksum.

    Raises:
        UsageError: naming the files that changed, or what else is wrong with the store.
    """
    if not directory.is_dir():
        raise UsageError(f"output={directory}: there is no such store")
    open_store(directory)
    expected = checksums(directory)
    changed = []
    with (
        counting("verify", len(expected), "files") as advance,
        ThreadPoolExecutor(usable_cores()) as pool,
    ):
        found = pool.map(checksum, (directory / file for file in expected))
        for (file, written), now in zip(expected.items(), found, strict=True):
            if now != written:
                changed.append(file)
            advance(1)
    if changed:
        raise UsageError(
            f"{directory}: {len(changed)} of {len(expected)} files differ from their checksum: "
            f"{', '.join(changed[:3])}{' …' if len(changed) > 3 else ''}; "
            "delete the folder and it is prepared anew"
        )
    log.info("%s: all %d files are as they were written", directory, len(expected))
