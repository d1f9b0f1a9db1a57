"""Configurations that reports tell apart."""

from collections.abc import Callable
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alexnet_repro.config import CONF
from alexnet_repro.results.conditions import Experiments


@pytest.fixture(scope="session")
def config_of() -> Callable[[str], dict[str, Any]]:
    """The configuration of an experiment as its record holds it."""
    composed: dict[str, dict[str, Any]] = {}

    def get(experiment: str) -> dict[str, Any]:
        if experiment not in composed:
            with initialize_config_dir(str(CONF), version_base="1.3"):
                config = compose("train", [f"experiment={experiment}"])
            # What only a run knows.
            config.run_name, config.logger = experiment, {}
            values: Any = OmegaConf.to_container(config, resolve=True)
            composed[experiment] = values
        return composed[experiment]

    return get


@pytest.fixture(scope="session")
def experiments() -> Experiments:
    return Experiments.of_this_version()
