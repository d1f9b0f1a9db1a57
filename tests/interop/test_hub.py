"""A folder of somebody else's that claims to be a classifier is one, or is refused in one way."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from alexnet_repro import HubClassifier
from alexnet_repro.base.errors import UsageError

SHIPPED = Path(__file__).parents[2] / "results" / "imagenette"


def folder_with(config: str, directory: Path) -> Path:
    """The shipped network with another ``config.json``."""
    (directory / "model.safetensors").symlink_to(SHIPPED / "model.safetensors")
    (directory / "config.json").write_text(config)
    return directory


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop_size", -5),
        ("crop_size", 10**9),
        ("image_size", "256"),
        ("input_size", True),
        ("classes", list(range(10))),
        ("classes", ["a", "b"]),
        ("classes", None),
        ("model", {}),
        ("model", {"_target_": "os.system"}),
        ("model", {"_target_": "alexnet_repro.AlexNet", "width": 0.3}),
        ("model", {"_target_": "alexnet_repro.AlexNet", "nope": 1}),
        ("model", []),
    ],
)
def test_what_a_configuration_cannot_say_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    config = json.loads((SHIPPED / "config.json").read_text()) | {key: value}
    with pytest.raises(UsageError) as told:
        HubClassifier.from_pretrained(folder_with(json.dumps(config), tmp_path))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_what_is_no_configuration_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        HubClassifier.from_pretrained(folder_with(text, tmp_path))


def test_weights_that_are_missing_are_not_drawn(tmp_path: Path) -> None:
    weights = load_file(SHIPPED / "model.safetensors")
    del weights["network.fc8.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((SHIPPED / "config.json").read_text())
    with pytest.raises(UsageError, match=r"it has no network\.fc8\.weight"):
        HubClassifier.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="not what alexnet export safetensors writes"):
        HubClassifier.from_pretrained(tmp_path)
