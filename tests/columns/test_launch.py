"""Who starts the processes of a run."""

import signal
from typing import Any

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from alexnet_repro.base.config import fail
from alexnet_repro.base.errors import DivergenceError, UsageError
from alexnet_repro.columns import launch
from alexnet_repro.columns.launch import in_processes, must_launch

TORCHRUN = {"TORCHELASTIC_RUN_ID": "17", "WORLD_SIZE": "2"}
SRUN = {
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_NAME": "alexnet",
}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "devices", "ours"),
    [
        ({}, 1, False),
        ({}, 2, True),
        (TORCHRUN, 2, False),
        (SRUN, 2, False),
        # In a shell of SLURM nobody has started the tasks.
        (SRUN | {"SLURM_JOB_NAME": "bash"}, 2, True),
        ({name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"}, 2, True),
        ({"SLURM_NTASKS": "1"}, 2, True),
    ],
)
def test_the_command_starts_what_nobody_has_started(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], devices: int, ours: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert must_launch({"devices": devices, "num_nodes": 1}) == ours


@pytest.mark.parametrize(
    ("environment", "trainer", "message"),
    [
        (TORCHRUN, {"devices": 4, "num_nodes": 1}, "are 4 processes, but torchrun started 2"),
        (SRUN, {"devices": 8, "num_nodes": 2}, "are 16 processes, but srun started 2"),
        (
            SRUN | {"SLURM_NTASKS_PER_NODE": ""},
            {"devices": 2, "num_nodes": 1},
            "start it with srun --ntasks-per-node=2 (it is not given)",
        ),
        (
            SRUN | {"SLURM_NNODES": "2"},
            {"devices": 2, "num_nodes": 1},
            "trainer.num_nodes=1: start it with srun --nodes=1 (it is 2)",
        ),
        ({}, {"devices": 8, "num_nodes": 2}, "start the command on every node, with torchrun or"),
    ],
)
def test_another_number_of_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    trainer: dict[str, int],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as refused:
        must_launch(trainer)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [UsageError, DivergenceError])
def test_what_a_process_ends_with_is_what_the_launcher_raises(kind: type[UsageError]) -> None:
    with pytest.raises(UsageError, match=r"^the loss is nan$") as raised:
        in_processes(2, fail, "the loss is nan", kind)
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        # NCCL aborts who waits, and the launcher ends or kills the one that hangs.
        ((-signal.SIGABRT, -signal.SIGTERM), "rank 0 .* aborted, .* rank 1 does not answer within"),
        ((-signal.SIGABRT, -signal.SIGKILL), r"rank 1 \(.* was ended by SIGKILL"),
        ((-signal.SIGTERM, -signal.SIGABRT), "rank 1 .* aborted, .* rank 0 does not answer within"),
        ((-signal.SIGABRT, 1), "rank 1 .* ended with exit code 1"),
        ((-signal.SIGABRT, -signal.SIGABRT), "rank 0 .* was ended by SIGABRT"),
    ],
)
def test_who_waited_in_vain_is_not_blamed(
    monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...], told: str
) -> None:
    failures = {rank: ProcessFailure(rank, 17, code, "none") for rank, code in enumerate(codes)}

    def failing(*arguments: Any) -> Any:
        def launched(*arguments: Any) -> None:
            raise ChildFailedError("train", failures)

        return launched

    monkeypatch.setattr(launch, "elastic_launch", failing)
    with pytest.raises(UsageError, match=told):
        in_processes(2, fail, columns=2)
