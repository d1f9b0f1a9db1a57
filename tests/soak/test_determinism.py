"""The same seed gives the same weights, to the bit (``make soak`` measures what changes them)."""

from pathlib import Path

import pytest
import torch

from alexnet_repro.training.checkpoint import LAST
from tests.forks import Forks

from .killing import differences, whole_run

EPOCHS = ["schedule.epochs=2", "schedule.patience=1000"]


def state(run: Path) -> dict[str, object]:
    """Weights, velocities and what was counted."""
    checkpoint = torch.load(run / "checkpoints" / LAST, weights_only=True)
    return {name: checkpoint[name] for name in ("state_dict", "optimizer_states", "counted")}


def runs(forks: Forks, top: Path, *arguments: list[str]) -> list[dict[str, object]]:
    found = []
    for number, own in enumerate(arguments):
        (top / str(number)).mkdir()
        found.append(state(whole_run(forks, top / str(number), own)))
    return found


def test_readers_and_deterministic_algorithms_do_not_change_a_bit_of_a_run_and_a_seed_does(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    base = [*tiny, *EPOCHS, "trainer=cpu", "data.num_workers=0"]
    first, again, strict, readers, other = runs(
        forks,
        tmp_path,
        base,
        base,
        [*base, "trainer.deterministic=true"],
        [*base, "data.num_workers=2"],
        [*base, "seed=1"],
    )
    assert list(differences(first, again)) == []
    assert list(differences(first, strict)) == []
    assert list(differences(first, readers)) == []
    assert list(differences(first, other)) != []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_deterministic_algorithms_give_the_same_weights_on_a_gpu(
    forks: Forks, tiny: list[str], tmp_path: Path
) -> None:
    base = [*tiny, *EPOCHS, "trainer=gpu", "trainer.deterministic=true"]
    first, again = runs(forks, tmp_path, base, base)
    assert list(differences(first, again)) == []
