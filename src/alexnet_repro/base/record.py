"""Result records: what was measured, by which command, on what."""

import csv
import io
import math
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from alexnet_repro.base.files import write_text

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


def as_typed(override: str) -> str:
    """An override of Hydra's without the marks that ``opened`` and ``with_list`` put on it.

    ``++data.name='my photos'`` as ``data.name=my photos``, ``checkpoint=['a','b']`` as
    ``checkpoint=a,b``.
    """
    key, equals, value = override.removeprefix("++").partition("=")
    text = r"'((?:[^'\\,]|\\.)*)'"
    if re.fullmatch(rf"{text}|\[{text}(,{text})*\]", value):
        # Backslashes count only before a quote and at the end.
        parts = (re.sub(r"(\\+)(?='|$)", _half, one) for one in re.findall(text, value))
        value = ",".join(parts)
    return f"{key}{equals}{value}"


def _half(backslashes: re.Match[str]) -> str:
    return backslashes[0][: len(backslashes[0]) // 2]


def provenance(command: str, arguments: Iterable[str] | None = None) -> dict[str, Any]:
    """Command, date, code version, package versions and machine of this process.

    Args:
        command: the module that runs.
        arguments: of the command, those of one job if it is one of a sweep; None: as typed.
    """
    if arguments is None:
        # Behind the name of the command, where one program has them all.
        program = Path(sys.argv[0])
        has_all = program.stem == "alexnet" or program.match("alexnet_repro/__main__.py")
        arguments = sys.argv[2 if has_all else 1 :]
    return {
        "command": f"python -m {command} {shlex.join(map(as_typed, arguments))}".rstrip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "version": version_of("alexnet-repro"),
        "packages": {package: version_of(package) for package in PACKAGES},
        "python": platform.python_version(),
        "machine": _machine(),
    }


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table so that ``path`` holds either what it held before or all of it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


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
