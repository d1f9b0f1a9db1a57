"""Commands, run in this process: torch takes seconds to import."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from alexnet_repro.config import CONF, validated
from alexnet_repro.schema.convert import ConvertSchema

Convert = Callable[..., None]


@pytest.fixture
def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Convert:
    """What ``python -m alexnet_repro.convert`` does with these arguments, in ``tmp_path``."""
    from alexnet_repro.interchange import conversion

    monkeypatch.chdir(tmp_path)

    def run(*overrides: str) -> None:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("convert", list(overrides), return_hydra_config=True)
            HydraConfig.instance().set_config(config)
            OmegaConf.set_struct(config, False)
            del config["hydra"]
            conversion.convert(validated(config, ConvertSchema), list(overrides))

    return run
