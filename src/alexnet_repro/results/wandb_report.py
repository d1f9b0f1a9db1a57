"""A Weights & Biases report that compares the ablations logged by ``logger=wandb``."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.extras import require
from alexnet_repro.base.files import write_json
from alexnet_repro.results.tables import Table
from alexnet_repro.training.loggers import why_offline

log = logging.getLogger(__name__)

EXPERIMENT = "run_name"
"""What ``logger=wandb`` calls the experiment in a run's configuration."""

UNNAMED = "ENTITY"
FILE = "wandb_report.json"


def write_wandb_report(
    project: str, entity: str | None, tables: Sequence[Table], output: Path
) -> None:
    """Make the report on the server, or, where there is no key or no way to it, a file.

    Args:
        tables: shown below the panels: the claims and the ablations.
        output: folder that gets ``wandb_report.json``, the report's specification, then.

    Raises:
        UsageError: if its extra is not installed, or the server refuses.
    """
    require("reports", "--wandb")
    reason = why_offline()
    if reason is not None:
        write_json(output / FILE, specification(compose_report(project, entity or UNNAMED, tables)))
        log.info(
            "W&B: the report is not on the server, since %s; its specification is in %s. "
            "Upload the runs with wandb sync and give the same command once more with a key",
            reason,
            output / FILE,
        )
        return
    import wandb

    try:
        report = compose_report(project, entity or str(wandb.Api().default_entity), tables).save()
    except (wandb.Error, ValueError) as error:
        raise UsageError(f"--wandb: the server refused the report ({error})") from error
    log.info("W&B report: %s", report.url)


def compose_report(project: str, entity: str, tables: Sequence[Table]) -> Any:
    """Validation curves, a bar for each experiment, the runs as a table, and our tables."""
    import wandb_workspaces.reports.v2 as blocks

    # Without a project of its own it is the report's, and nothing has to be looked up.
    runs = blocks.Runset(name="experiments", groupby=[f"config.{EXPERIMENT}.value"])
    ranged = {"groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
    panels = []
    for column, (top, metric) in enumerate((("top-1", "top1_error"), ("top-5", "top5_error"))):
        validation, test = f"Validation, {top} error (%)", f"Test, ten crops, {top} error (%)"
        above, below = (blocks.Layout(x=12 * column, y=row, w=12, h=9) for row in (0, 9))
        panels += [
            blocks.LinePlot(
                title=validation, x="epoch", y=[f"val/{metric}"], layout=above, **ranged
            ),
            blocks.BarPlot(title=test, metrics=[f"ten_crop/{metric}"], layout=below, **ranged),
        ]
    return blocks.Report(
        project=project,
        entity=entity,
        title="AlexNet: the ablations",
        description="Every experiment beside the baseline, and the paper's claims.",
        width="fluid",
        blocks=[
            blocks.P(
                "Experiments are grouped by name, with the range over seeds. Compare only runs "
                "with equal settings; the tables below do."
            ),
            blocks.PanelGrid(runsets=[runs], panels=panels),
            *(blocks.MarkdownBlock(table.markdown()) for table in tables),
        ],
    )


def specification(report: Any) -> dict[str, Any]:
    """What the server would get."""
    model = report._to_model()
    spec = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
    project = {"entity": report.entity, "name": report.project}
    return {"title": report.title, "project": project, "spec": spec}
