"""Stores that lie in object storage (s3://, gs://, abfs://, hdfs://), copied here before use."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import check_room, locked
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
    directory = cache_dir / name
    if directory.exists():
        return directory
    with locked(directory):
        if not directory.exists():
            partial = cache_dir / f"{name}.copying"
            shutil.rmtree(partial, ignore_errors=True)
            _copy(uri, partial)
            verify(partial)
            partial.rename(directory)
    return directory


def _copy(uri: str, to: Path) -> None:
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
        found = filesystem.get_file_info(fs.FileSelector(path))
        check_room(to.parent, sum(info.size or 0 for info in found), f"copying {uri}")
        to.mkdir()
        fs.copy_files(path, str(to), source_filesystem=filesystem)
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        shutil.rmtree(to, ignore_errors=True)
        reason = str(error).splitlines()[0]
        raise UsageError(f"data.directory={uri}: cannot be copied ({reason})") from error
