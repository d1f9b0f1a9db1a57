"""The model card of exported weights: what they are, how they were made, how good they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import checksum, user_path
from alexnet_repro.base.schema import RESULT, read_record, reason
from alexnet_repro.training.checkpoint import Trained
from alexnet_repro.training.networks import NETWORKS

LICENCE = "bsd-3-clause"

PUBLISHED = ("model", "augment", "optimizer", "schedule", "run_name", "seed", "converted", "made")
OF_DATA = ("name", "batch_size", "exif_orientation")
"""Keys of a run that go with its weights; others name folders of who trained them."""


def published(trained: Trained) -> dict[str, Any]:
    """The configuration to go with the weights, with the command that trained them."""
    config = {key: trained.config[key] for key in PUBLISHED if key in trained.config}
    config["data"] = {k: v for k, v in trained.config["data"].items() if k in OF_DATA}
    begun = trained.path.parent.parent / "run.json"
    if begun.is_file():
        first = json.loads(begun.read_text(encoding="utf-8"))[0]
        config["made"] = {key: first[key] for key in ("command", "commit", "date")}
    return config


def record_of(trained: Trained, given: Path | None) -> dict[str, Any] | None:
    """The record of what was measured: that of ``given``, or ``result.json`` of the run.

    Raises:
        UsageError: if ``given`` is no record, or one of other checkpoints.
    """
    path = trained.path.parent.parent / RESULT if given is None else user_path(given)
    if given is None and not path.is_file():
        return None
    try:
        record = read_record(path)
    except (OSError, ValueError) as error:
        told = f"--record {path}: no record of train or evaluate ({reason(error)})"
        raise UsageError(told) from error
    if record.get("dataset") is None or "centre" not in record.get("errors", {}):
        raise UsageError(f"--record {path}: no record of train or evaluate (it has no errors)")
    if given is None and record.get("epochs") != trained.epoch:
        # A run measures its last network: best.ckpt may be of an earlier epoch.
        return None
    measured = {one.get("sha256") for one in record.get("checkpoints", ())}
    if measured and checksum(trained.path) not in measured:
        raise UsageError(f"--record {path}: was measured on another checkpoint than {trained.path}")
    return record


def model_card(trained: Trained, config: Mapping[str, Any], given: Path | None) -> str:
    """The text of ``README.md``: front matter that the Hugging Face hub reads, then Markdown.

    Args:
        config: see :func:`published`.
        given: see :func:`record_of`.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    record, converted = record_of(trained, given), config.get("converted")
    ours = config["model"]["_target_"] in NETWORKS
    results = (
        [
            EvalResult(
                task_type="image-classification",
                dataset_type=record["dataset"]["name"],
                dataset_name=record["dataset"]["name"],
                dataset_split=record.get("split"),
                metric_type="accuracy",
                metric_name="top-1 accuracy in percent",
                metric_value=round(100 - record["errors"]["centre"]["top1"], 2),
            )
        ]
        if record
        else None
    )
    facts = ModelCardData(
        license="other" if converted else LICENCE,
        library_name="alexnet-repro",
        pipeline_tag="image-classification",
        tags=["image-classification", *(["alexnet", "reproduction"] if ours else [])],
        model_name=config["run_name"],
        eval_results=results,
    )
    recipe = {
        "network": json.dumps({k: v for k, v in config["model"].items() if v is not None}),
        "epochs": trained.epoch,
        "optimizer": json.dumps(config.get("optimizer")),
        "augmentation": json.dumps(config["augment"]),
        "batch size": config["data"].get("batch_size"),
        "seed": config.get("seed"),
    }
    card = ModelCard.from_template(
        facts,
        template_path=str(Path(__file__).with_name("card.md.jinja")),
        trained=trained,
        config=config,
        converted=converted,
        made=config.get("made"),
        ours=ours,
        recipe=recipe,
        record=record,
        sha256=checksum(trained.path),
    )
    return f"{card}\n"
