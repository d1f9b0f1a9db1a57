"""Which experiment a configuration is, and under which other settings it ran.

Both are read from what the configuration says, not from what a run was called: two runs are
compared only if all that differs between them is what the experiment changes.
"""

import json
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from alexnet_repro.base.build import PACKAGE, PARTIAL, TARGET, described
from alexnet_repro.config import CONF, composed
from alexnet_repro.learning.configuration import with_defaults
from alexnet_repro.learning.networks import NETWORKS

BASELINE = "alexnet"
NOT_EXPERIMENTS = {BASELINE, "demo", "small", "evidence"}
"""The baseline itself, and settings that suit small sets."""

Settings = dict[str, Any]

WHOLE = ("model", "augment", "optimizer", "schedule")
PARTS = {
    "data": ("batch_size", "image_size", "crop_size", "input_size", "exif_orientation"),
}
TRAINER = {
    "precision": "32-true",
    "max_steps": -1,
    "limit_train_batches": 1.0,
    "limit_val_batches": 1.0,
    "limit_test_batches": 1.0,
    "overfit_batches": 0.0,
    "accumulate_grad_batches": 1,
    "gradient_clip_val": None,
}
"""Arguments of the Trainer that change what is computed, with what they are if not given."""
WATCHING = (
    *(
        "record",
        "curve",
        "progress",
        "nonfinite",
        "run_folder",
        "interruption",
        "best",
        "last",
        "logged",
    ),
    *("lr_monitor", "throughput", "device_stats"),
)
"""Callbacks of ours, and of Lightning's, that change nothing of what a run measures."""

LENGTH = {"schedule.epochs", "schedule.notes_epochs"}
"""How long a run is, is no part of an experiment: only runs of equal length are compared, or runs
of the length that the experiment's own file says."""


def settings(config: Mapping[str, Any]) -> Settings:
    """What may change a run's result, flat by dotted key; not its seed, machine or places."""
    chosen: dict[str, Any] = {name: config.get(name) for name in WHOLE}
    if (config.get("model") or {}).get("_target_") in NETWORKS:
        # An option that is newer than the record is as it was.
        chosen["model"] = described(config["model"], "model")
    for name, keys in PARTS.items():
        part = config.get(name) or {}
        chosen[name] = {key: part[key] for key in keys if key in part}
    trainer = config.get("trainer") or {}
    chosen["trainer"] = {key: trainer.get(key, default) for key, default in TRAINER.items()}
    chosen["callbacks"] = changing(config.get("callbacks") or {})
    chosen["init_from"] = config.get("init_from") is not None
    chosen["init_layers"] = config.get("init_layers")
    return _flat(chosen)


def changing(callbacks: Mapping[str, Any]) -> Settings:
    """Those callbacks that may change a run's result: all but the ones known to watch only."""
    return {name: node for name, node in callbacks.items() if name not in WATCHING}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Settings:
    leaves: Settings = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            leaves |= _flat(value, f"{prefix}{key}.")
        elif key == TARGET and str(value).startswith(f"{PACKAGE}."):
            # By its public name: modules move.
            leaves[prefix + key] = f"{PACKAGE}.{value.rpartition('.')[2]}"
        elif key != PARTIAL:
            leaves[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return leaves


def _length(own: Settings) -> Settings:
    return {key: own[key] for key in LENGTH if key in own}


def _composed_settings(experiment: str) -> Settings:
    config = composed("train", f"experiment={experiment}")
    # Only these parts: the rest says where a run writes, which only a run knows.
    parts = (*WHOLE, "data", "trainer")
    resolved: Any = {name: OmegaConf.to_container(config[name], resolve=True) for name in parts}
    whole: Any = OmegaConf.to_container(config, resolve=False)
    return settings(with_defaults({**whole, **resolved}))


def _parent(experiment: str) -> str | None:
    """What the file of an experiment begins with, if that is another experiment."""
    file = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml")
    assert isinstance(file, DictConfig)
    return next((entry for entry in file.get("defaults", ()) if isinstance(entry, str)), None)


class Experiments:
    """The experiments of this version, by what they change in the baseline.

    ``parents`` names, for an experiment that is built on another one, that one.
    """

    def __init__(
        self,
        baseline: Settings,
        composed: Mapping[str, Settings],
        parents: Mapping[str, str],
    ) -> None:
        self.baseline, self.parents = baseline, parents
        self.lengths = {name: _length(own) for name, own in composed.items()}
        self.changes = {name: self._against_baseline(own) for name, own in composed.items()}

    @classmethod
    def of_this_version(cls) -> "Experiments":
        """As the files under ``conf/experiment`` compose."""
        names = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
        all_settings = {name: _composed_settings(name) for name in names}
        own = {n: values for n, values in all_settings.items() if n not in NOT_EXPERIMENTS}
        parents = {name: parent for name in own if (parent := _parent(name)) in own}
        return cls(all_settings[BASELINE], own, parents)

    def _against_baseline(self, own: Settings) -> Settings:
        absent = object()
        return {
            key: value
            for key, value in own.items()
            if key not in LENGTH and self.baseline.get(key, absent) != value
        }

    def role(self, config: Mapping[str, Any]) -> str:
        """The experiment that a configuration is: a name, several joined by +, or the baseline."""
        own = settings(config)
        active = [
            name
            for name, changes in self.changes.items()
            if all(key in own and own[key] == value for key, value in changes.items())
        ]
        # Of an experiment and one that changes more, the latter is what was done.
        largest = [
            name
            for name in active
            if not any(self.changes[name].items() < self.changes[other].items() for other in active)
        ]
        return "+".join(largest) or BASELINE

    def conditions(self, config: Mapping[str, Any]) -> Settings:
        """The settings beside those that the experiment changes."""
        own, role = settings(config), self.role(config)
        changed = {key for name in role.split("+") for key in self.changes.get(name, ())}
        if _length(own) == self.lengths.get(role):
            changed |= LENGTH
        return self.baseline | {key: value for key, value in own.items() if key not in changed}

    def other_settings(self, conditions: Settings) -> Settings:
        """Where conditions differ from those of the paper."""
        absent = object()
        return {
            key: value
            for key, value in sorted(conditions.items())
            if self.baseline.get(key, absent) != value
        }
