"""Stores that lie in object storage (s3://, gs://, abfs://, hdfs://), copied here before use."""

from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from alexnet_repro.base.errors import UsageError, first_line
from alexnet_repro.base.files import check_room, made_once
from alexnet_repro.data.store import verify


def local_copy(uri: str, cache_dir: Path) -> Path:
    """The store at ``uri``, copied to ``cache_dir`` the first time and checked.

    Crops are read at random from memory-mapped files, which object storage cannot be: a store is
    copied once, in large sequential reads. Credentials are those that pyarrow finds (for S3 the
    variables and files of AWS).

    Raises:
        UsageError: if there is no store, it cannot be reached, or what was copied is not what was
            written.
    """
    place = urlsplit(uri)
    name = f"{place.netloc}{place.path}".strip("/").replace("/", "-")
    return made_once(cache_dir / name, partial(_copy, uri))


def _copy(uri: str, to: Path) -> None:
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
        found = filesystem.get_file_info(fs.FileSelector(path))
        check_room(to.parent, sum(info.size or 0 for info in found), f"copying {uri}")
        to.mkdir()
        fs.copy_files(path, str(to), source_filesystem=filesystem)
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        told = f"data.directory={uri}: cannot be copied ({first_line(error)})"
        raise UsageError(told) from error
    verify(to)
