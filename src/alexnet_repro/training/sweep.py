"""What became of the jobs of a multirun: a table on the terminal and ``sweep.csv``."""

import atexit
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from alexnet_repro.base.config import CONF, fail, remove_unused
from alexnet_repro.base.console import console
from alexnet_repro.base.errors import PrunedError, UsageError
from alexnet_repro.base.files import write_json
from alexnet_repro.base.mistakes import no_match
from alexnet_repro.base.record import write_csv

log = logging.getLogger(__name__)

COLUMNS = ("job", "overrides", "status", "top1", "top5", "ten_crop_top1", "ten_crop_top5", "error")
ROW = "job.json"

found: dict[Path, Path] = {}
"""Records that jobs of this process found instead of training, by the folder of the job."""


class SweepTable(Callback):
    """Adds every job of a multirun to ``sweep.csv`` in the sweep's folder as it ends.

    Hydra goes on after a job that failed, and tells only of the first one when all have run; here
    each failure is told at once, and again in the table at the end.

    A job may run in a process of its own, on another machine: it leaves its row in its folder, from
    where whoever ends next gathers it.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        directory, rows = Path(config.hydra.sweep.dir), _pattern(config)
        # A sweep that is started again has rows of all its jobs again; a search, of those to come.
        if "study_name" not in config.hydra.sweeper:
            for path in directory.glob(rows):
                path.unlink()
        # Hydra does not call on_multirun_end if a job has failed.
        atexit.register(_print_table, directory, rows)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if config.hydra.mode.name != "MULTIRUN":
            return
        directory = Path(config.hydra.runtime.output_dir)
        row = {
            "job": config.hydra.job.num,
            # As it was typed: keys of what is built need no ++.
            "overrides": [given.removeprefix("++") for given in config.hydra.overrides.task],
            "status": job_return.status.name.lower(),
        }
        error = job_return._return_value
        if isinstance(error, PrunedError):
            row["status"] = "pruned"
            log.info("%s", error)
        elif job_return.status == JobStatus.FAILED:
            # Of these the message is all there is to say.
            told = isinstance(error, UsageError)
            row["error"] = f"{error}" if told else f"{type(error).__name__}: {error}"
            log.error(
                "job %s failed: %s", row["job"], row["error"], exc_info=None if told else error
            )
        elif directory in found:
            row |= {"status": "skipped"} | _errors(found[directory])
        else:
            row |= _errors(directory / "result.json")
        write_json(_place(directory, row["job"]), row)
        # With hydra.job.chdir the job is elsewhere.
        _gather(Path(config.hydra.runtime.cwd, config.hydra.sweep.dir), _pattern(config))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        directory, rows = Path(config.hydra.sweep.dir), _pattern(config)
        if not _rows(directory, rows):
            remove_unused(directory, "multirun.yaml")
            fail(no_match(sys.argv[1:], CONF))
        # Jobs that ended at the same time may have missed each other's row.
        _gather(directory, rows)


def _pattern(config: DictConfig) -> str:
    """Of the rows in the folder of a sweep, as deep as ``hydra.sweep.subdir`` puts the jobs."""
    sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
    named = re.sub(r"\$\{.*?\}", "*", sweep["subdir"])
    return str(Path(*("*" for _ in Path(named).parts), "job*.json"))


def _place(directory: Path, job: int) -> Path:
    """For the row of a job; its folder may be that of another one, whose row stays."""
    path = directory / ROW
    taken = path.is_file() and json.loads(path.read_text()).get("job", job) != job
    return path.with_stem(f"{path.stem}_{job}") if taken else path


def _rows(directory: Path, pattern: str) -> list[dict[str, Any]]:
    rows = (json.loads(path.read_text()) for path in directory.glob(pattern))
    return sorted(rows, key=lambda row: row["job"])


def _gather(directory: Path, pattern: str) -> None:
    of_jobs = _rows(directory, pattern)
    rows = [row | {"overrides": " ".join(row["overrides"])} for row in of_jobs]
    write_csv(directory / "sweep.csv", COLUMNS, rows)


def _errors(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    errors = json.loads(path.read_text())["errors"]
    return {
        f"{prefix}{top}": round(errors[crops][top], 2)
        for prefix, crops in (("", "centre"), ("ten_crop_", "ten"))
        if crops in errors
        for top in ("top1", "top5")
    }


def _print_table(directory: Path, rows: str) -> None:
    finished = _rows(directory, rows)
    if not finished:
        return
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for column in ("job", "overrides", "status", "top-1", "top-5", "ten-crop top-1", "top-5"):
        table.add_column(column, overflow="fold")
    shared = set.intersection(*(set(row["overrides"]) for row in finished))
    for row in finished:
        own = " ".join(o for o in row["overrides"] if o not in shared)
        cells = ((row | {"overrides": own}).get(column, "") for column in COLUMNS[:-1])
        table.add_row(*(f"{c:.1f}" if isinstance(c, float) else str(c) for c in cells))
    console.print(table, soft_wrap=False)
    failed = [row for row in finished if row["status"] == "failed"]
    if failed:
        console.print(f"{len(failed)} of {len(finished)} jobs failed:")
        for row in failed:
            console.print(f"  job {row['job']}: {row['error']}")
