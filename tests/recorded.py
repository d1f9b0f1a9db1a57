"""Configurations of ``train`` as its records hold them, composed once for all tests."""

import copy
import functools
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from alexnet_repro.base.config import composed, resolved
from alexnet_repro.training.configuration import Configuration


@functools.cache
def configuration(*overrides: str) -> Configuration:
    """The checked configuration of ``conf/train.yaml`` with these arguments."""
    config = composed("train", *overrides, return_hydra_config=True)
    config.hydra.runtime.output_dir = "run"
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return Configuration.of(resolved(config))


def recorded(*overrides: str) -> dict[str, Any]:
    """Its values, with the defaults of all that it names."""
    return copy.deepcopy(configuration(*overrides).recorded())


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of all keys, by their full names."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[prefix + key] = value
    return leaves


ABSENT = "absent"


def difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The values of ``other``, by their full names, that are not those of ``one``."""
    before, after = flat(one), flat(other)
    keys = before.keys() | after.keys()
    return {
        key: after.get(key, ABSENT)
        for key in keys
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    }
