"""Configurations that reports tell apart."""

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import OmegaConf

from alexnet_repro.base.config import composed
from alexnet_repro.results.conditions import Experiments
from alexnet_repro.training.configuration import with_defaults
from alexnet_repro.training.resuming import changing


@pytest.fixture(scope="session")
def config_of() -> Callable[[str], dict[str, Any]]:
    """The configuration of an experiment, or of ``[demo,alexnet]``, as its record holds it."""
    known: dict[str, dict[str, Any]] = {}

    def get(experiment: str) -> dict[str, Any]:
        if experiment not in known:
            config = composed("train", f"experiment={experiment}")
            # What only a run knows.
            config.run_name, config.callbacks = experiment, changing(config.callbacks)
            values: Any = OmegaConf.to_container(config, resolve=True)
            known[experiment] = with_defaults(values)
        return known[experiment]

    return get


@pytest.fixture(scope="session")
def experiments() -> Experiments:
    return Experiments()
