"""The two columns on two processes of this machine, beside other ways to train on its cores."""

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.profiler_util import FunctionEvent
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from alexnet_repro import AlexNet
from alexnet_repro.benchmarks.report import Measured
from alexnet_repro.benchmarks.step import train_once
from alexnet_repro.benchmarks.timing import Contender, Timing, interleaved
from alexnet_repro.columns.exchange import bytes_per_step, exchanges
from alexnet_repro.columns.launch import in_processes
from alexnet_repro.columns.pipeline import ColumnPipeline, split_parameters
from alexnet_repro.cores import usable_cores
from alexnet_repro.learning.sgd import PaperSGD
from alexnet_repro.memory import keep_freed_memory

Interval = tuple[float, float]
COLUMNS = "columns, micro-batches={}"
DATA_PARALLEL = "data parallelism (DDP)"
ONE_PROCESS = "one process, threads={}"
ONE_GPU_NET = "one-GPU net, threads={}"
WAYS = {"all_gather": "forward", "all_to_all": "backward"}
"""How torch names the crossings of :mod:`columns.exchange` over gloo, and when they happen."""


@dataclass(frozen=True)
class Overlap:
    """The exchanges of one step in one direction, as the profiler saw them, in milliseconds."""

    exchange: float
    hidden: float


def columns(
    width: float,
    batch_size: int,
    micro_batches: Sequence[int],
    performance: Sequence[str],
    rounds: int,
) -> Iterator[Measured]:
    """Time per training step, and how much of the exchange hides behind computation.

    Both processes, and what they exchange, share this machine's cores.

    Args:
        width: of the networks.
        batch_size: images of a step, of both processes together.
        micro_batches: parts of it.
        performance: ``exact`` (32 bits) or ``fast`` (bfloat16).
        rounds: of timing, and then of profiling.
    """
    network = AlexNet(width=width)
    table, gradients = exchanges(network), sum(p.numel() for p in network.parameters())
    # The profiler's library would tell of every start and stop.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    for precision in performance:
        fast = precision == "fast"
        timings, overlaps = in_processes(
            2, _measure, width, batch_size, list(micro_batches), fast, rounds
        )[0]
        one = next(t for t in timings if t.name == ONE_PROCESS.format(usable_cores()))
        bytes_ = bytes_per_step(table, batch_size, 2 if fast else 4)
        yield Measured(
            f"A training step on {batch_size} images, performance={precision}",
            [timing.row(one) for timing in timings],
            {
                "ratio to": one.name,
                "columns and DDP": f"two processes, threads={_half()} each",
                "megabytes that each column sends": round(bytes_ / 1e6, 1),
                "megabytes of gradients that data parallelism averages": round(4e-6 * gradients, 1),
                **_two_against_one_gpu(timings),
            },
        )
        yield Measured(
            f"Exchange in a training step, performance={precision}, from the profiler's trace",
            [
                {
                    "micro_batches": parts,
                    "direction": way,
                    "exchange_ms": round(overlap.exchange, 1),
                    "hidden_ms": round(overlap.hidden, 1),
                    "hidden_share": round(overlap.hidden / max(overlap.exchange, 1e-9), 3),
                }
                for (parts, way), overlap in overlaps.items()
            ],
            {
                "exchange": "time in which at least one exchange ran, waiting for the other "
                "process included",
                "hidden": "the part of it in which this process computed",
            },
        )


def _two_against_one_gpu(timings: Sequence[Timing]) -> dict[str, float]:
    """The paper's claim (§4.2): two columns take slightly less time than the one-GPU net."""
    two = min((t for t in timings if t.name.startswith("columns")), key=lambda t: t.median)
    return {
        f"{two.name}: times as fast as {t.name}": round(two.times_faster_than(t), 3)
        for t in timings
        if t.name.startswith("one-GPU")
    }


def _half() -> int:
    return max(1, usable_cores() // 2)


def _measure(
    width: float, batch_size: int, micro_batches: Sequence[int], fast: bool, rounds: int
) -> tuple[list[Timing], dict[tuple[int, str], Overlap]]:
    """Runs in each of the two processes."""
    keep_freed_memory()  # as training does
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data_parallel", "columns"))
    random = torch.Generator().manual_seed(0)
    images = 60 * torch.randn(batch_size, 3, 224, 224, generator=random)
    label = torch.randint(1000, (batch_size,), generator=random)
    batch = images.to(memory_format=torch.channels_last), label
    steps = _columns(width, mesh, micro_batches, batch, fast)
    contenders = [
        *(_together(COLUMNS.format(parts), step, batch_size) for parts, step in steps.items()),
        _together(DATA_PARALLEL, _data_parallel(width, batch, fast), batch_size),
        _alone(ONE_PROCESS, _network(width, columns=2), usable_cores(), batch, fast),
        *(
            _alone(ONE_GPU_NET, _network(width, columns=1), threads, batch, fast)
            for threads in sorted({_half(), usable_cores()})
        ),
    ]
    timings = interleaved(contenders, rounds)
    torch.set_num_threads(_half())
    overlaps = {
        (parts, way): overlap
        for parts, step in steps.items()
        for way, overlap in _profiled(step, rounds).items()
    }
    dist.destroy_process_group()
    return timings, overlaps


def _network(width: float, columns: int) -> AlexNet:
    torch.manual_seed(0)
    network = AlexNet(width=width, columns=columns)  # type: ignore[arg-type]
    return network.to(memory_format=torch.channels_last)


def _step(
    forward: Callable[[Tensor], Tensor],
    network: nn.Module,
    batch: tuple[Tensor, Tensor],
    fast: bool,
) -> Callable[[], None]:
    # So small a rate that thousands of steps on one batch change no speed.
    optimizer = PaperSGD(network.parameters(), lr=1e-9)

    return lambda: train_once(forward, optimizer, *batch, bf16=fast)


def _columns(
    width: float,
    mesh: DeviceMesh,
    micro_batches: Sequence[int],
    batch: tuple[Tensor, Tensor],
    fast: bool,
) -> dict[int, Callable[[], None]]:
    network = _network(width, columns=2)
    split_parameters(network, mesh)
    return {
        parts: _step(ColumnPipeline(network, mesh, parts), network, batch, fast)
        for parts in micro_batches
    }


def _data_parallel(width: float, batch: tuple[Tensor, Tensor], fast: bool) -> Callable[[], None]:
    replica = DistributedDataParallel(_network(width, columns=2), gradient_as_bucket_view=True)
    share = (
        batch[0].chunk(2)[dist.get_rank()].contiguous(memory_format=torch.channels_last),
        batch[1].chunk(2)[dist.get_rank()],
    )
    return _step(replica, replica, share, fast)


def _together(name: str, step: Callable[[], None], images: int) -> Contender:
    def run() -> None:
        torch.set_num_threads(_half())
        dist.barrier()
        step()

    return Contender(name, run, images)


def _alone(
    name: str, network: nn.Module, threads: int, batch: tuple[Tensor, Tensor], fast: bool
) -> Contender:
    """In the first process; the second sleeps meanwhile."""
    step = _step(network, network, batch, fast)

    def run() -> None:
        torch.set_num_threads(threads)
        dist.barrier()
        if dist.get_rank() == 0:
            step()

    return Contender(name.format(threads), run, len(batch[1]))


def _profiled(step: Callable[[], None], rounds: int) -> dict[str, Overlap]:
    """The exchanges of ``step`` by direction, in the median round."""
    seen: dict[str, list[Overlap]] = {way: [] for way in WAYS.values()}
    for _ in range(rounds):
        dist.barrier()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            step()
        for way, overlap in overlaps(profiler.events()).items():
            seen[way].append(overlap)
    return {
        way: Overlap(
            statistics.median(o.exchange for o in found), statistics.median(o.hidden for o in found)
        )
        for way, found in seen.items()
    }


def overlaps(events: Sequence[FunctionEvent] | Any) -> dict[str, Overlap]:
    """Where a trace of one step shows exchanges, and computation of this process meanwhile."""
    threads = {e.thread for e in events if e.name.startswith("c10d::")}
    computed = _union(
        (e.time_range.start, e.time_range.end)
        for e in events
        if e.thread in threads and e.name.startswith("aten::")
    )
    found = {}
    for collective, way in WAYS.items():
        ran = _union(
            (e.time_range.start, e.time_range.end) for e in events if e.name == f"gloo:{collective}"
        )
        found[way] = Overlap(_length(ran) / 1000, _length(_intersection(ran, computed)) / 1000)
    return found


def _union(intervals: Iterator[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def _intersection(some: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    return [
        (max(start, begin), min(end, finish))
        for start, end in some
        for begin, finish in others
        if max(start, begin) < min(end, finish)
    ]


def _length(intervals: Sequence[Interval]) -> float:
    return sum(end - start for start, end in intervals)
