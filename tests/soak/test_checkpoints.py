"""What a training takes to go on from, and how it refuses the rest: one line, exit code 2."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.forks import Forks

from .killing import step_of, trained

FORMATS = Path(__file__).parents[1] / "training" / "checkpoints"
SMALL = ["model.width=0.02", "data.image_size=16", "data.crop_size=16", "seed=1", "trainer=cpu"]


@pytest.mark.parametrize("path", sorted(FORMATS.glob("*.ckpt")), ids=lambda path: path.stem)
def test_a_run_goes_on_from_every_format_version(
    forks: Forks, tiny: list[str], tmp_path: Path, path: Path
) -> None:
    old = shutil.copy(path, tmp_path)
    arguments = [*tiny, *SMALL, "schedule.epochs=2", f"resume={old}"]
    code, output = trained(forks, tmp_path, *arguments)
    assert code == 0, output
    assert "epoch 2/2" in output
    assert "epoch 1/2" not in output
    assert step_of(tmp_path / "run" / "checkpoints" / "last.ckpt") == 6


class Planted:
    """Would make a folder if it were unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.place,)


def planted(checkpoint: dict[str, Any], place: Path) -> None:
    checkpoint["state_dict"]["network.conv1.bias"] = Planted(place)


def only_weights(checkpoint: dict[str, Any], place: Path) -> None:
    for part in ("loops", "callbacks", "optimizer_states"):
        del checkpoint[part]


def a_layer_less(checkpoint: dict[str, Any], place: Path) -> None:
    del checkpoint["state_dict"]["network.conv3.weight"]


def a_layer_more(checkpoint: dict[str, Any], place: Path) -> None:
    checkpoint["state_dict"]["network.fc9.weight"] = torch.ones(2, 2)


def of_the_future(checkpoint: dict[str, Any], place: Path) -> None:
    checkpoint["format"] = 99


def another_class(checkpoint: dict[str, Any], place: Path) -> None:
    checkpoint["ImageDataModule"]["classes"][0] = "date"


@pytest.mark.parametrize(
    ("change", "more", "told"),
    [
        (planted, [], "not a checkpoint: it holds more than tensors and plain"),
        (only_weights, [], "start from them with init_from="),
        (a_layer_less, [], "its conv3.weight is missing, that of this network 8×6×3×3"),
        (a_layer_more, [], "its fc9.weight is 2×2, that of this network missing"),
        (of_the_future, [], "a checkpoint of format 99; this version reads up to 2"),
        (another_class, [], "its 3 classes are not the 3 of the data"),
        (None, ["model.width=0.04"], "with model.width 0.02 → 0.04: its conv1.bias is 2, that"),
        (
            None,
            ["model.columns=1", "resume_with=[model.columns]"],
            "the keys of model must be those of the checkpoint",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_line_and_nothing_is_run(
    forks: Forks,
    tiny: list[str],
    tmp_path: Path,
    change: Callable[[dict[str, Any], Path], None] | None,
    more: list[str],
    told: str,
) -> None:
    checkpoint = torch.load(FORMATS / "format2.ckpt", weights_only=True)
    if change is not None:
        change(checkpoint, tmp_path / "was_run")
    torch.save(checkpoint, tmp_path / "changed.ckpt")
    arguments = [*tiny, *SMALL, *more, f"resume={tmp_path / 'changed.ckpt'}"]
    code, output = trained(forks, tmp_path, *arguments)
    assert code == 2, output
    (line,) = (line for line in output.splitlines() if line.startswith("error: "))
    assert told in line
    assert str(tmp_path / "changed.ckpt") in line
    assert "Traceback" not in output
    assert not (tmp_path / "was_run").exists()
    assert not list(tmp_path.glob("run/checkpoints/*"))
