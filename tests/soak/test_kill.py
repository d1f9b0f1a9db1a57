"""A training that is killed ends as if it had not been (``make soak``: killed forty times)."""

import shutil
from pathlib import Path

import pytest
import torch

from alexnet_repro.training.checkpoint import BEFORE, LAST
from tests.forks import Forks

from .killing import compare, differences, killed_run, trained, whole_run

pytestmark = pytest.mark.long

PLATEAU = ["schedule.patience=2", "schedule.threshold=100", "schedule.divisions=9"]


@pytest.fixture(scope="module")
def arguments(tiny: list[str]) -> list[str]:
    # The learning rate is divided after epochs 3 and 5.
    return [*tiny, "trainer=cpu", "schedule.epochs=6", "checkpoint_every_n_steps=1", *PLATEAU]


@pytest.fixture(scope="module")
def whole(forks: Forks, arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_run(forks, tmp_path_factory.mktemp("whole"), arguments)


def test_a_run_killed_while_it_writes_checkpoints_ends_bit_for_bit_like_a_whole_one(
    forks: Forks, arguments: list[str], whole: Path, tmp_path: Path
) -> None:
    run, kills = killed_run(forks, tmp_path, arguments, ["writing"] * 3, seed=1)
    assert len(kills) >= 2
    assert {kill.damaged for kill in kills} == {None}
    assert compare(whole, run) == []
    assert not list(run.glob("**/.*.ckpt-*"))


def test_the_comparison_sees_a_bit(whole: Path) -> None:
    one, other = (torch.load(whole / "checkpoints" / LAST, weights_only=True) for _ in range(2))
    assert list(differences(one, other)) == []
    velocity = other["optimizer_states"][0]["state"][3]["velocity"]
    velocity.view(torch.int32).flatten()[5] ^= 1
    assert list(differences(one, other)) == ["/optimizer_states/0/state/3/velocity: tensors"]
    other["loops"]["fit_loop"]["epoch_progress"]["current"]["ready"] += 1
    assert len(list(differences(one, other))) == 2


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(
    forks: Forks, arguments: list[str], whole: Path, tmp_path: Path
) -> None:
    kept = shutil.copytree(whole, tmp_path / "kept")
    (whole / "result.json").unlink()
    last = whole / "checkpoints" / LAST
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    code, output = trained(forks, whole.parent, *arguments, f"resume={last}")
    assert code == 0, output
    assert f"{last}: damaged (" in output
    assert f"resuming from the one before it, {last.with_name(BEFORE)}" in output
    assert compare(kept, whole) == []
