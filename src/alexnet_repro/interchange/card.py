"""The model card of exported weights: what they are, how they were made, how good they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_repro.errors import UsageError
from alexnet_repro.learning.checkpoint import Trained
from alexnet_repro.learning.networks import NETWORKS
from alexnet_repro.results.record import checksum

LICENCE = "bsd-3-clause"


def record_of(trained: Trained, given: str | None) -> dict[str, Any] | None:
    """The record of what was measured: that of ``given``, or ``result.json`` of the run.

    Raises:
        UsageError: if ``given`` is no record, or one of other checkpoints.
    """
    path = trained.path.parent.parent / "result.json" if given is None else Path(given).expanduser()
    if given is None and not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["errors"], record["dataset"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"record={path}: no record of train or evaluate ({error})") from error
    if given is None and record.get("epochs") != trained.epoch:
        # A run measures its last network: best.ckpt may be of an earlier epoch.
        return None
    measured = {one["sha256"] for one in record.get("checkpoints", ())}
    if measured and checksum(trained.path) not in measured:
        raise UsageError(f"record={path}: was measured on another checkpoint than {trained.path}")
    return record


def model_card(trained: Trained, given: str | None) -> str:
    """The text of ``README.md``: front matter that the Hugging Face hub reads, then Markdown."""
    record = record_of(trained, given)
    config = trained.config
    converted = config.get("converted")
    data, target = config["data"]["name"], config["model"]["_target_"]
    ours = target in NETWORKS
    tags = ["alexnet", "image-classification", "reproduction"] if ours else ["image-classification"]
    lines = [
        "---",
        f"license: {LICENCE if converted is None else 'other'}",
        "library_name: alexnet-repro",
        "pipeline_tag: image-classification",
        f"tags: [{', '.join(tags)}]",
        *_model_index(config["run_name"], record),
        "---",
        "",
        f"# {config['run_name']}",
        "",
        "AlexNet (Krizhevsky, Sutskever & Hinton, *ImageNet Classification with Deep Convolutional "
        "Neural Networks*, NeurIPS 2012), from the package `alexnet-repro`."
        if ours
        else f"`{target}`, trained with the package `alexnet-repro`.",
        "",
        *_use(trained, "" if ours else ", network=NETWORK"),
        "",
        "## Data",
        "",
        f"Trained on `{data}`, {len(trained.classes)} classes. The terms of those images apply to "
        "what is made of them; ImageNet's are for research and education that is not commercial.",
        "",
        "## Recipe",
        "",
        *(_converted(converted) if converted else _recipe(trained)),
        "",
        "## Result",
        "",
        *(_result(record) if record else ["Not measured."]),
        "",
        "## Licence",
        "",
        "The package and weights that it trained: BSD 3-Clause."
        if converted is None
        else "The package: BSD 3-Clause. The weights: as those who trained them say.",
        "",
        f"Checkpoint: SHA-256 `{checksum(trained.path)}`.",
    ]
    return "\n".join(lines) + "\n"


def _model_index(name: str, record: Mapping[str, Any] | None) -> list[str]:
    if record is None:
        return []
    accuracy = 100 - record["errors"]["centre"]["top1"]
    return [
        "model-index:",
        f"- name: {json.dumps(name)}",
        "  results:",
        "  - task: {type: image-classification}",
        f"    dataset: {{name: {json.dumps(record['dataset']['name'])}, "
        f"type: {json.dumps(record['dataset']['name'])}, split: {record['split']}}}",
        "    metrics:",
        f"    - {{type: accuracy, name: top-1 accuracy in percent, value: {accuracy:.2f}}}",
    ]


def _use(trained: Trained, more: str) -> list[str]:
    """How to load it.

    Args:
        more: arguments beside the folder.
    """
    views = trained.views
    return [
        "```python",
        "from alexnet_repro import HubClassifier",
        "from PIL import Image",
        "",
        f'classifier = HubClassifier.from_pretrained("FOLDER"{more}).eval()',
        'image = classifier.preprocess(Image.open("photograph.jpg"))',
        "label = classifier(image[None]).argmax()",
        "print((classifier.words or classifier.classes)[label])",
        "```",
        "",
        f"A photograph's shorter side becomes {trained.image_size} pixels, its centre of "
        f"{views.crop_size}×{views.crop_size} is read as RGB 0–255; the mean image is subtracted "
        "inside.",
    ]


def _recipe(trained: Trained) -> list[str]:
    config = trained.config
    model = {key: value for key, value in config["model"].items() if value is not None}
    rows = {
        "network": json.dumps(model),
        "epochs": trained.epoch,
        "optimizer": json.dumps(config.get("optimizer")),
        "augmentation": json.dumps(config["augment"]),
        "batch size": config["data"].get("batch_size"),
        "seed": config.get("seed"),
    }
    return ["| | |", "|---|---|", *(f"| {key} | `{value}` |" for key, value in rows.items())]


def _converted(converted: Mapping[str, Any]) -> list[str]:
    return [
        f"Not trained here: converted from `{converted['source']}` (SHA-256 "
        f"`{converted['source_sha256']}`) by `{converted['command']}`, version "
        f"{converted['version']}."
    ]


def _result(record: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Error in percent on {record['images']} images of `{record['dataset']['name']}` "
        f"({record['split']}), with 95 % intervals:",
        "",
        "| crops | top-1 | top-5 |",
        "|---|---|---|",
    ]
    for crops, figures in record["errors"].items():
        cells = [
            "{:.2f} ({:.2f}–{:.2f})".format(figures[top], *figures[f"{top}_interval"])
            for top in ("top1", "top5")
        ]
        lines.append(f"| {crops} | {' | '.join(cells)} |")
    machine = record["machine"]
    return [
        *lines,
        "",
        f"`{record['command']}`, commit `{record['commit']}`, {record['date']}, "
        f"{machine['gpu'] or machine['processor']}.",
    ]
