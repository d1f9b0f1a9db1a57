"""Errors of trained networks on a set of images, each alone and all of them as an ensemble."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from torchmetrics.classification import MulticlassStatScores

from alexnet_repro.base.build import built_as
from alexnet_repro.base.checkpoints import find_checkpoint
from alexnet_repro.base.console import console, counting
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.files import checksum
from alexnet_repro.base.record import FORMAT, chance_error, error_figures, provenance
from alexnet_repro.base.system import keep_freed_memory
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.network.crops import log_mean, log_probabilities
from alexnet_repro.network.layers import compile_norms
from alexnet_repro.results.matching import matched_labels
from alexnet_repro.results.options import Evaluation
from alexnet_repro.results.records import ensemble
from alexnet_repro.training.checkpoint import Trained, load_trained
from alexnet_repro.training.device import chosen_device, compile_network, set_fp32_precision

log = logging.getLogger(__name__)

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Tally:
    """Counts, class by class, what became of the images."""

    def __init__(self, classes: int) -> None:
        # With k classes or fewer, every label is among the k most probable.
        self.counts = {
            k: MulticlassStatScores(classes, min(k, classes), "none", validate_args=False)
            for k in (1, 5)
        }
        self.negative_log_likelihood = 0.0

    def count(self, log_probability: Tensor, label: Tensor) -> None:
        """Add images by what a network says of them: (B, classes), with their labels (B,)."""
        for counts in self.counts.values():
            counts.to(label.device).update(log_probability, label)
        own = log_probability.double().gather(1, label[:, None])
        self.negative_log_likelihood -= float(own.sum())

    def missed(self, k: int) -> tuple[list[int], list[int]]:
        """Of each class, images whose label is not among the ``k`` most probable, and all."""
        *_, missed, images = self.counts[k].compute().T.tolist()
        return missed, images

    def figures(self) -> dict[str, Any]:
        """For a record: of all images."""
        errors, count = {}, 0
        for k in self.counts:
            missed, images = self.missed(k)
            count = sum(images)
            errors[f"top{k}"] = 100 * sum(missed) / count
        return error_figures(self.negative_log_likelihood / count, errors, count)

    def by_class(self, names: Sequence[str], words: Sequence[str] | None) -> list[dict[str, Any]]:
        """For a record: a row for each class, errors in percent; null where it has no images."""
        rows = []
        counts = {k: self.missed(k) for k in self.counts}
        for label, name in enumerate(names):
            row: dict[str, Any] = {"class": name}
            row |= {} if words is None else {"words": words[label]}
            for k, (missed, images) in counts.items():
                share = 100 * missed[label] / images[label] if images[label] else None
                row |= {"images": images[label], f"top{k}": share}
            rows.append(row)
        return rows


def evaluate(options: Evaluation, overrides: Sequence[str]) -> dict[str, Any]:
    """The record of what ``options`` describe.

    Raises:
        UsageError: for what the user can put right.
    """
    data = built_as(ImageDataModule, options.data, "data")
    device = chosen_device(options.device)
    set_fp32_precision(options.fp32_precision)
    if device.type == "cpu":
        keep_freed_memory()
    given = options.checkpoint
    paths = [find_checkpoint(path) for path in ([given] if isinstance(given, str) else given)]
    members = [load_trained(path, device, options.model, options.trust) for path in paths]
    labels = fitting_labels(members, data)
    split = options.split or data.test_split
    started = time.perf_counter()
    own, together = tallies(members, data, split, labels, options, device)
    names, words = members[0].classes, members[0].words
    if data.classes == names:
        words = data.store.words
    networks = [
        described(member) | {"errors": {crops: t.figures() for crops, t in tally.items()}}
        for member, tally in zip(members, own, strict=True)
    ]
    return {
        "format": FORMAT,
        "experiment": ensemble(str(network["experiment"]) for network in networks),
        **provenance("alexnet_repro.evaluate", overrides),
        "device": str(device),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "dataset": data.description,
        "split": split,
        "images": len(data.store.splits[split]),
        "errors": {crops: tally.figures() for crops, tally in together.items()},
        "chance": chance_error(len(names)),
        "checkpoints": networks,
        "by_class": {crops: tally.by_class(names, words) for crops, tally in together.items()},
        "config": asdict(options),
    }


def fitting_labels(members: Sequence[Trained], data: ImageDataModule) -> Tensor:
    """The networks' label for every class of the data, before any image is prepared.

    Raises:
        UsageError: if they do not tell the classes of the data apart, or have other images.
    """
    first = members[0]
    labels, way = matched_labels(first, data)
    for member in members:
        if member.classes != first.classes:
            raise UsageError(
                f"{member.path}: its classes are not those of {first.path}; an ensemble's networks "
                "were trained on the same classes"
            )
        if member.image_size != data.image_size:
            raise UsageError(
                f"{member.path}: it was trained on stored images of {member.image_size} pixels; "
                f"add data.image_size={member.image_size}"
            )
    if data.classes != first.classes:
        told = "%s: %d of the network's %d classes, matched by %s"
        log.info(told, data.dataset_name, len(labels), len(first.classes), way)
    return torch.tensor(labels)


def tallies(
    members: Sequence[Trained],
    data: ImageDataModule,
    split: str,
    labels: Tensor,
    options: Evaluation,
    device: torch.device,
) -> tuple[list[dict[str, Tally]], dict[str, Tally]]:
    """Count the errors of each member and of the ensemble, by ``centre`` and ``ten``.

    Every member sees the images through its own views: they have the mean image of its training
    set. Only a batch is held at a time. ``labels`` are the networks' for the classes of the data.
    """
    crops = options.crops
    kinds = ("centre",) if crops == "centre" else ("centre", "ten")
    classes = len(members[0].classes)
    own = [{kind: Tally(classes) for kind in kinds} for _ in members]
    together = {kind: Tally(classes) for kind in kinds}
    loader = data.whole_images(split, on_cpu=device.type == "cpu")
    if options.compile_network:
        for member in members:
            compile_network(member.network, device.type == "cpu")
    compile_norms(len(loader) * len(members) * (1 if crops == "centre" else 10))
    autocast = AUTOCAST.get(options.trainer["precision"])
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=autocast, enabled=autocast is not None),
        counting(f"{split} images", len(data.store.splits[split]), "images") as done,
    ):
        for batch in loader:
            images = batch["image"].to(device, non_blocking=True)
            label = labels[batch["label"]].to(device, non_blocking=True)
            said: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
            for member, tally in zip(members, own, strict=True):
                views = log_probabilities(member.network, member.views.test_views(images, crops))
                for kind in kinds:
                    log_probability = views[0] if kind == "centre" else log_mean(views)
                    tally[kind].count(log_probability, label)
                    said[kind].append(log_probability)
            for kind in kinds:
                together[kind].count(log_mean(torch.stack(said[kind])), label)
            done(len(label))
    return own, together


def described(member: Trained) -> dict[str, Any]:
    """A member of the ensemble, for a record."""
    config = json.dumps(member.config, sort_keys=True)
    return {
        "path": str(member.path),
        "sha256": checksum(member.path),
        "experiment": member.config.get("run_name", "custom"),
        "seed": member.config.get("seed"),
        "epoch": member.epoch,
        "config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        "config": {key: value for key, value in member.config.items() if key != "logger"},
    }


def print_evaluation(record: Mapping[str, Any]) -> None:
    """A row for each network and, if there are several, one for the ensemble."""
    data, chance = record["dataset"], record["chance"]
    console.print(
        f"{data['name']}, {record['split']}, {record['images']} images of {data['classes']} "
        "classes: errors in percent (95 % interval), mean negative log-likelihood"
    )
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("network")
    for column in ("crops", "top-1", "top-5", "NLL"):
        table.add_column(column, justify="right", no_wrap=True)
    members = [(c["experiment"], c["seed"], c["errors"]) for c in record["checkpoints"]]
    rows = [
        (name if seed is None else f"{name} seed {seed}", errors) for name, seed, errors in members
    ]
    if len(rows) > 1:
        rows.append((f"ensemble: {record['experiment']}", record["errors"]))
    for name, errors in rows:
        for crops, figures in errors.items():
            table.add_row(
                name,
                crops,
                *(_with_interval(figures, top) for top in ("top1", "top5")),
                f"{figures['negative_log_likelihood']:.4f}",
            )
    table.add_row("chance", "", *(f"{chance[top]:.2f}" for top in ("top1", "top5")), "")
    console.print(table, soft_wrap=False)


def _with_interval(figures: Mapping[str, Any], top: str) -> str:
    low, high = figures[f"{top}_interval"]
    return f"{figures[top]:.2f} ({low:.1f}-{high:.1f})"
