"""The overlap that a trace of the profiler shows."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from columns import overlaps


@dataclass
class Event:
    """As the profiler gives it: times in microseconds."""

    name: str
    start: float
    end: float
    thread: int = 1

    @property
    def time_range(self) -> SimpleNamespace:
        return SimpleNamespace(start=self.start, end=self.end)


CALL = Event("c10d::_allgather_base_", 0, 1)


@pytest.mark.parametrize(
    ("computed", "hidden"),
    [
        ([], 0),
        ([Event("aten::conv2d", 9_000, 12_000)], 2),
        ([Event("aten::conv2d", 9_000, 12_000), Event("aten::mm", 11_000, 14_000)], 4),
        ([Event("aten::conv2d", 0, 99_000)], 10),
        ([Event("aten::conv2d", 0, 10_000), Event("aten::mm", 20_000, 30_000)], 0),
        # Waiting within autograd computes nothing; nor does gloo's own copying in its thread.
        ([Event("autograd::engine::evaluate_function: _ReceiveBackward", 0, 99_000)], 0),
        ([Event("aten::copy_", 0, 99_000, thread=2)], 0),
    ],
)
def test_hidden_is_the_part_of_the_exchange_in_which_this_process_computed(
    computed: list[Event], hidden: float
) -> None:
    exchange = Event("gloo:all_gather", 10_000, 20_000, thread=2)
    assert overlaps([CALL, exchange, *computed])["forward"] == (10, hidden)


def test_exchanges_that_run_at_the_same_time_count_once_and_each_way_for_itself() -> None:
    found = overlaps(
        [
            CALL,
            Event("gloo:all_gather", 0, 3_000, thread=2),
            Event("gloo:all_gather", 2_000, 5_000, thread=3),
            Event("gloo:all_to_all", 8_000, 9_000, thread=2),
            Event("aten::mm", 4_000, 8_500),
        ]
    )
    assert found == {"forward": (5, 1), "backward": (1, 0.5)}
