"""Commands, run in this process: torch takes seconds to import."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from pydantic import BaseModel

from alexnet_repro.config import composed, validated
from alexnet_repro.schema.convert import ConvertSchema
from alexnet_repro.schema.export import ExportSchema

from .caffe_writer import alexnet, caffemodel

Run = Callable[..., None]


def values_of(command: str, schema: type[BaseModel], overrides: tuple[str, ...]) -> dict[str, Any]:
    """The validated configuration of a command."""
    config = composed(command, *overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return validated(config, schema)


@pytest.fixture
def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """What ``python -m alexnet_repro.convert`` does with these arguments, in ``tmp_path``."""
    from alexnet_repro.interchange import conversion

    monkeypatch.chdir(tmp_path)

    def run(*overrides: str) -> None:
        conversion.convert(values_of("convert", ConvertSchema, overrides), list(overrides))

    return run


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Run:
    """What ``python -m alexnet_repro.export`` does with these arguments, in ``tmp_path``."""
    from alexnet_repro.interchange import export

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEXNET_REPRO_CACHE", str(cache))

    def run(*overrides: str) -> None:
        export.export(values_of("export", ExportSchema, overrides), list(overrides))

    return run


@pytest.fixture(scope="session")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a narrow CaffeNet of three classes, with weights that move its logits."""
    from alexnet_repro.interchange import conversion

    folder = tmp_path_factory.mktemp("strong")
    layers = alexnet(np.random.default_rng(0), pool_first=True, width=0.125, classes=3)
    (folder / "net.caffemodel").write_bytes(caffemodel(layers))
    (folder / "classes.txt").write_text("apple a fruit\nbanana\ncherry\n")
    overrides = ("from=caffe", f"source={folder}/net.caffemodel", f"output={folder}/net.ckpt")
    overrides += (f"classes={folder}/classes.txt",)
    conversion.convert(values_of("convert", ConvertSchema, overrides), list(overrides))
    return folder / "net.ckpt"
