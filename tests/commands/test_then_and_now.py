"""The ladder from 2012 to today: each step adds one thing, trains, and resumes to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet_repro.base.config import CONF
from alexnet_repro.base.errors import UsageError
from tests.recorded import difference, recorded

from .conftest import Command

ADDS: dict[str, set[str]] = {
    "1_he_start": {"model.weight_std", "model.bias"},
    "2_batch_norm": {"model.response_norm", "model.batch_norm"},
    "3_resized_crop": {"augment.resized_crop", "augment.mean_crop"},
    "4_label_smoothing": {"augment.label_smoothing"},
    "5_cosine": {"schedule"},
    "6_adamw": {"optimizer"},
    "7_mixup": {"augment.mixup"},
    "8_weight_average": {"callbacks.weight_averaging"},
}
"""The steps in order, and the keys that each sets."""
STEPS = list(ADDS)
EVERYTHING = STEPS[-1]


def experiment(step: str) -> str:
    return f"then_and_now_{step}"


def test_the_ladder_has_these_steps() -> None:
    files = {path.stem for path in (CONF / "experiment").glob("then_and_now_*.yaml")}
    assert files == set(map(experiment, STEPS))


@pytest.mark.parametrize("regime", ["", "demo,", "small,", "evidence,"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_adds_one_thing_to_the_one_before(step: str, regime: str) -> None:
    place = STEPS.index(step)
    before = experiment(STEPS[place - 1]) if place else "alexnet"
    one, other = (recorded(f"experiment=[{regime}{name}]") for name in (before, experiment(step)))
    changed = difference(one, other).keys() - {"run_name"}
    assert changed
    assert {key for key in changed if not _of(key, ADDS[step])} == set()


def _of(key: str, parts: set[str]) -> bool:
    return any(f"{key}.".startswith(f"{part}.") for part in parts)


@pytest.mark.parametrize("regime", ["demo", "small", "evidence"])
def test_a_step_is_as_long_as_the_regime_before_it(regime: str) -> None:
    alone = recorded(f"experiment={regime}")
    for step in STEPS:
        values = recorded(f"experiment=[{regime},{experiment(step)}]")
        assert values["schedule"]["epochs"] == alone["schedule"]["epochs"]


@pytest.mark.parametrize(
    "step",
    [*(pytest.param(step, marks=pytest.mark.long) for step in STEPS[:-1]), EVERYTHING],
)
def test_a_step_is_trained_and_resumes_to_the_bit(
    step: str, train_tiny: Command, tmp_path: Path
) -> None:
    def last(folder: str, *more: str) -> dict[str, Any]:
        arguments = (f"experiment={experiment(step)}", "schedule.epochs=2", "trainer=cpu")
        done = train_tiny(*arguments, f"hydra.run.dir={folder}", *more)
        assert done.returncode == 0, done.stderr
        path = tmp_path / folder / "checkpoints" / "last.ckpt"
        read: dict[str, Any] = torch.load(path, weights_only=True)
        return read

    whole = last("whole", "trainer.max_steps=4")
    assert last("cut", "trainer.max_steps=2")["global_step"] == 2
    resumed = last("cut", "trainer.max_steps=4", "resume=cut/checkpoints/last.ckpt")
    for weights in ("state_dict", "current_model_state"):
        assert (weights in whole) == (weights in resumed)
        for name, value in whole.get(weights, {}).items():
            assert torch.equal(resumed[weights][name], value), name


def test_columns_on_two_devices_are_refused_batch_normalization() -> None:
    with pytest.raises(UsageError, match=r"model\.batch_norm=true: .* not split between columns"):
        recorded(f"experiment={experiment('2_batch_norm')}", "trainer=two_cpu")
