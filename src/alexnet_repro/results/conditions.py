"""Which experiment a run was, and under which other settings it ran.

The experiment follows from the recorded command, the settings from the recorded configuration. Two
runs are compared only if they differ in nothing but what the experiment changes.
"""

import json
from collections.abc import Callable, Collection
from typing import Any

from omegaconf import DictConfig, OmegaConf

from alexnet_repro.base.build import PACKAGE, TARGET, leaves
from alexnet_repro.base.config import CONF, composed
from alexnet_repro.results.records import Values, arguments, names
from alexnet_repro.training.configuration import with_defaults
from alexnet_repro.training.resuming import RECIPE, changing, comparable

BASELINE = "alexnet"
REGIMES = ("demo", "small", "evidence")
"""Experiments that only say how small sets are trained on; others are combined with them."""

Settings = dict[str, Any]

WHOLE = ("model", "augment", "optimizer", "schedule")
DATA = ("batch_size", "image_size", "crop_size", "input_size", "exif_orientation")
TRAINER = RECIPE | {"precision": "32-true", "max_steps": -1, "limit_test_batches": 1.0}
"""Arguments of the Trainer that change what is measured, with what they are if not given."""

GLOBAL = ("experiment", "recipe")
"""Groups whose files set keys of any part."""

LENGTH = {"schedule.epochs", "schedule.notes_epochs"}
"""The length of a run is not part of an experiment: runs are compared if they are equally long, or
as long as the experiment's own file says."""


def settings(config: Values) -> Settings:
    """What may change a run's result, flat by dotted key; not its seed, machine or places."""
    chosen: Settings = {name: config.get(name) for name in WHOLE}
    data, trainer = config.get("data") or {}, config.get("trainer") or {}
    chosen["data"] = {key: data[key] for key in DATA if key in data}
    chosen["trainer"] = {key: trainer.get(key, usual) for key, usual in TRAINER.items()}
    chosen["fp32_precision"] = config.get("fp32_precision", "ieee")
    chosen["callbacks"] = changing(config.get("callbacks") or {})
    chosen["init_from"] = config.get("init_from") is not None
    chosen["init_layers"] = config.get("init_layers")
    flat = leaves(comparable(chosen))
    return {k: json.dumps(v) if isinstance(v, list) else v for k, v in flat if v != {}}


def _read(group: str, name: str) -> Any:
    return OmegaConf.load(CONF / group / f"{name}.yaml")


def _said(group: str, name: str) -> Any:
    """What a file of ``conf`` sets, with the files that its defaults name, as plain YAML."""
    own: Any = _read(group, name)
    whole: Any = OmegaConf.create()
    for entry in own.pop("defaults", ()):
        if isinstance(entry, str):
            whole = OmegaConf.merge(whole, _said(group, entry))
        else:
            ((override, choice),) = entry.items()
            part = override.removeprefix("override /")
            whole.pop(part, None)
            whole = OmegaConf.merge(whole, _said(part, choice))
    return OmegaConf.merge(whole, own if group in GLOBAL else {group: own})


class Experiments:
    """The experiments of ``conf/experiment``, by what they change in the paper's run.

    Attributes:
        paper: the settings of the paper's run.
        changes: of each experiment, regime and recipe, its length included.
        names: the experiments other than regimes and the baseline.
        parents: of an experiment whose file begins with another one, that.
    """

    def __init__(self) -> None:
        config = composed("train")
        self._whole = {name: config[name] for name in (*WHOLE, "data", "trainer")}
        self.paper = self._settings(OmegaConf.create())
        self.changes: dict[str, Settings] = {}
        for group in GLOBAL:
            for name in sorted(path.stem for path in (CONF / group).glob("*.yaml")):
                said = _said(group, name)
                said.callbacks = changing(said.get("callbacks") or {})
                self.changes[name] = self.other_settings(self._settings(said))
        experiments = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
        self.names = [name for name in experiments if name not in (BASELINE, *REGIMES)]
        first = {name: _read("experiment", name).get("defaults", [""])[0] for name in self.names}
        self.parents = {name: entry for name, entry in first.items() if entry in self.names}

    def _settings(self, said: DictConfig) -> Settings:
        """Of the paper's run with these changes; what names another object replaces the paper's."""
        kept = {k: part for k, part in self._whole.items() if TARGET not in (said.get(k) or {})}
        whole: Any = OmegaConf.to_container(OmegaConf.merge(kept, said), resolve=True)
        return settings(with_defaults(whole))

    def other_settings(self, own: Settings) -> Settings:
        """Where settings differ from those of the paper."""
        absent = object()
        return {k: v for k, v in sorted(own.items()) if self.paper.get(k, absent) != v}

    def experiment(self, network: Values) -> str:
        """What a network was trained as: a name, several joined by +, or the baseline.

        That is an experiment whose file, or every key in it, was in the command.
        """
        own, told = settings(network["config"]), self._told(network)
        target = str(own.get(f"model.{TARGET}", PACKAGE))
        if not target.startswith(PACKAGE):
            return target
        active = {}
        for name in self.names:
            changes = _without(LENGTH, self.changes[name])
            if all(told(k) and k in own and own[k] == v for k, v in changes.items()):
                active[name] = changes.items()
        # Of an experiment and one that changes more, the latter is what was done.
        largest = [
            n for n, one in active.items() if not any(one < more for more in active.values())
        ]
        return "+".join(largest) or BASELINE

    def _told(self, network: Values) -> Callable[[str], bool]:
        """Whether a key was in the command; without a recorded command, any key may have been."""
        typed = arguments(network)
        chosen = [n for n in names(typed.get("experiment")) if n in self.changes]
        if "command" not in network and not chosen:
            return lambda key: True
        experiments = [name for name in chosen if name not in REGIMES]
        keys = (*typed, *self._together(*experiments, *names(typed.get("recipe"))))
        return lambda key: _within(key, keys)

    def conditions(self, network: Values, experiment: str) -> Settings:
        """Where a run's settings differ from the paper's, beside what its experiment changes.

        What a regime says of a key that the experiment changes or replaces holds for what it is
        compared with, unless the regime was another one when the run was made.
        """
        own, changed = settings(network["config"]), self._together(*names(experiment))
        if "schedule.epochs" in own and "curve" not in network:
            # Of a checkpoint, as long as it had been trained by then.
            scheduled = own["schedule.epochs"]
            own["schedule.epochs"] = network.get("epochs", network.get("epoch", scheduled))
        if any(own.get(key) != changed.get(key) for key in LENGTH):
            changed = _without(LENGTH, changed)
        typed = arguments(network)
        chosen = names(typed.get("experiment"))
        regime = self._together(*(name for name in chosen if name in REGIMES))
        beside = {key: value for key, value in regime.items() if _replaced(key, changed)}
        rest = {key for key in regime.keys() - beside.keys() if not _within(key, typed)}
        if any(own.get(key) != regime[key] for key in rest):
            beside = {}
        return self.other_settings(_without(changed, own) | beside)

    def _together(self, *chosen: str) -> Settings:
        """What these files change, one after the other; of other names, nothing."""
        return {key: value for name in chosen for key, value in self.changes.get(name, {}).items()}


def _within(key: str, keys: Collection[str]) -> bool:
    """Whether a key is one of these, or within one of them."""
    return any(f"{key}.".startswith(f"{one}.") for one in keys)


def _replaced(key: str, changed: Settings) -> bool:
    """Whether an experiment changes a key, a part that holds it or the object that it is of."""
    return _within(key, changed) or f"{key.partition('.')[0]}.{TARGET}" in changed


def _without(keys: Collection[str], values: Settings) -> Settings:
    return {key: value for key, value in values.items() if key not in keys}
