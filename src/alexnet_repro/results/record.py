"""Result records: what was measured, by which command, on what."""

import csv
import hashlib
import io
import json
import math
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

FORMAT = 1
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy", "pillow")


def error_interval(error: float, images: int) -> tuple[float, float]:
    """Wilson's 95% interval for an error rate of ``error`` percent measured on ``images`` images.

    Returns:
        Lower and upper bound in percent.
    """
    z = 1.959964
    p = error / 100
    centre = (p + z * z / (2 * images)) / (1 + z * z / images)
    spread = z * math.sqrt(p * (1 - p) / images + z * z / (4 * images**2)) / (1 + z * z / images)
    return 100 * max(0.0, centre - spread), 100 * min(1.0, centre + spread)


def error_figures(
    negative_log_likelihood: float, errors: Mapping[str, float], images: int
) -> dict[str, Any]:
    """What a record says of one way to look at the images.

    Args:
        errors: ``top1`` and ``top5`` in percent, measured on ``images`` images.
    """
    figures: dict[str, Any] = {"negative_log_likelihood": negative_log_likelihood}
    for top, error in errors.items():
        figures |= {top: error, f"{top}_interval": error_interval(error, images)}
    return figures


def chance_error(classes: int) -> dict[str, float]:
    """Top-1 and top-5 error in percent of guessing among equally frequent classes."""
    return {f"top{k}": 100 * (1 - min(k, classes) / classes) for k in (1, 5)}


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance(command: str, overrides: Iterable[str]) -> dict[str, Any]:
    """Command, date, code version, package versions and machine of this process.

    Args:
        command: the module that runs.
        overrides: its arguments; those of one job, if it is one of a sweep.
    """
    return {
        "command": f"python -m {command} {shlex.join(overrides)}".rstrip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "version": version_of("alexnet-repro"),
        "packages": {package: version_of(package) for package in PACKAGES},
        "python": platform.python_version(),
        "machine": _machine(),
    }


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` so that ``path`` holds either what it held before or all of it.

    A number that is not finite, such as the loss of a run that diverged, is written as null: JSON
    has no other word for it.
    """
    write_text(path, json.dumps(_finite(value), indent=1, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table so that ``path`` holds either what it held before or all of it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` holds either what it held before or all of it."""
    with all_of(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


@contextmanager
def all_of(path: Path) -> Iterator[Path]:
    """The name of a file to write, which takes the place of ``path`` once all of it is written."""
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}-", delete=False
    ) as file:
        unfinished = Path(file.name)
        try:
            yield unfinished
            os.fsync(file.fileno())
            unfinished.chmod(0o644)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _commit() -> str | None:
    """The commit of the checkout that this package runs from, with ``+changes`` if it has any."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # An installed package may lie inside somebody else's repository.
        if git("ls-files", "--error-unmatch", str(Path(__file__))) == "":
            return None
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "-uno") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def version_of(package: str) -> str | None:
    """The installed version of a package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
