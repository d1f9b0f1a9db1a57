"""Which trials a search launches, and what it makes of what becomes of them."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus

from alexnet_repro.base.errors import DivergenceError, PrunedError, UsageError

optuna = pytest.importorskip("optuna")

from optuna.trial import TrialState  # noqa: E402

from alexnet_repro.search import Search  # noqa: E402
from alexnet_repro.training.pruning import Pruning, open_study  # noqa: E402

LEARNING_RATE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


def search(directory: Path, *searched: str, n_trials: int = 4) -> Search:
    parsed = OverridesParser.create().parse_overrides([*(searched or [LEARNING_RATE])])
    return Search(
        {override.get_key_element(): override for override in parsed},
        storage=str(directory / "trials.log"),
        study_name="test",
        n_trials=n_trials,
        startup_trials=2,
        seed=0,
    )


def job(returned: Any) -> JobReturn:
    made = JobReturn()
    failed = isinstance(returned, Exception)
    made.return_value = returned
    made.status = JobStatus.FAILED if failed else JobStatus.COMPLETED
    return made


def launch(search: Search, returned: Sequence[Any], most: int = 1) -> list[dict[str, Any]]:
    """Let the next trials end so, and tell of their values."""
    values = []
    for one in returned:
        trials = search.next_trials(most)
        values += [trial.params for trial in trials]
        search.tell(trials, [job(one) for _ in trials])
    return values


def test_a_search_that_is_started_again_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    (tmp_path / "once").mkdir()
    (tmp_path / "twice").mkdir()
    errors = [50.0, 30.0, 40.0, 20.0]
    once = launch(search(tmp_path / "once"), errors)
    twice = launch(search(tmp_path / "twice"), errors[:3])
    # Killed within the fourth, which has the same number and the same values again.
    (killed,) = search(tmp_path / "twice").next_trials(1)
    assert killed.number == 3
    again = search(tmp_path / "twice")
    assert twice + launch(again, errors[3:]) == once
    assert len({values["optimizer.lr"] for values in once}) == 4
    assert again.next_trials(1) == []
    assert again.study.best_value == 20.0


def test_trials_that_are_launched_together_have_numbers_in_a_row(tmp_path: Path) -> None:
    first = search(tmp_path, n_trials=6)
    trials = first.next_trials(4)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    first.tell(trials[1:2], [job(50.0)])
    again = search(tmp_path, n_trials=6)
    numbers = []
    while trials := again.next_trials(4):
        numbers.append([trial.number for trial in trials])
        again.tell(trials, [job(50.0) for _ in trials])
    assert numbers == [[0], [2, 3, 4, 5]]


def test_what_diverges_or_is_pruned_counts_and_what_fails_ends_the_search(tmp_path: Path) -> None:
    begun = search(tmp_path, n_trials=3)
    launch(begun, [DivergenceError("the loss is nan"), PrunedError("behind the others")])
    with pytest.raises(UsageError, match="a mistake"):
        launch(begun, [UsageError("a mistake")])
    states = [trial.state for trial in begun.study.trials]
    assert states == [TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL]
    # Started again, there is one left of the three.
    again = search(tmp_path, n_trials=3)
    assert [trial.number for trial in again.next_trials(4)] == [3]
    with pytest.raises(UsageError, match="none of 3 trials ran to completion"):
        again.record(tmp_path)


def test_a_job_that_returns_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing for a search to minimize"):
        launch(search(tmp_path), [None])


@pytest.mark.parametrize(
    ("written", "drawn"),
    [
        ("x=choice(0.5,2)", {0.5, 2}),
        ("x=null,true,a", {"null", "True", "a"}),
        ("x=range(1,4)", {1, 2, 3}),
        ("x=int(interval(2,3))", {2, 3}),
    ],
)
def test_values_are_drawn_as_they_are_written(
    written: str, drawn: set[Any], tmp_path: Path
) -> None:
    begun = search(tmp_path, written, n_trials=30)
    trials = begun.next_trials(30)
    assert {trial.params["x"] for trial in trials} == drawn


def test_a_trial_above_the_median_is_pruned_after_the_first_epochs(tmp_path: Path) -> None:
    storage = str(tmp_path / "trials.log")
    study = open_study(storage, "test")
    for last in (10.0, 20.0, 30.0):
        errors = {1: 50.0, 2: last}
        study.add_trial(optuna.trial.create_trial(value=last, intermediate_values=errors))
    number = study.ask().number
    callback = Pruning(storage, "test", number, startup_trials=3, warmup_epochs=2)

    def validate(epoch: int, error: float, fn: str = "fit") -> None:
        trainer: Any = SimpleNamespace(
            state=SimpleNamespace(fn=fn),
            current_epoch=epoch - 1,
            callback_metrics={"val/top1_error": error},
        )
        callback.on_validation_end(trainer, SimpleNamespace())  # type: ignore[arg-type]

    validate(1, 90.0)
    validate(2, 99.0, fn="validate")
    with pytest.raises(PrunedError, match="pruned after epoch 2 with"):
        validate(2, 25.0)
    assert study.trials[number].intermediate_values == {1: 90.0, 2: 25.0}
