"""The two columns on two processes of this machine, beside other ways to train on its cores."""

import argparse
import math
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

from alexnet_repro import AlexNet
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.system import keep_freed_memory, usable_cores
from alexnet_repro.columns.launch import in_processes
from alexnet_repro.columns.pipeline import ColumnPipeline, split_parameters
from alexnet_repro.network.structure import bytes_per_step, exchanges
from alexnet_repro.training.sgd import PaperSGD
from measuring import Measured, Timing, in_turn, positive, run
from step import Step, random_batch

WAYS = {"all_gather": "forward", "all_to_all": "backward"}
"""How torch names the crossings of ``columns/exchange.py`` over gloo, and when they happen."""

Overlap = tuple[float, float]
"""Milliseconds of a step's exchanges in one direction, and how many of them computation hides."""


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

    Raises:
        UsageError: if the processes or the parts cannot share a batch evenly.
    """
    for parts in (2, *micro_batches):
        if batch_size % parts:
            raise UsageError(f"--batch-size {batch_size} cannot be divided by {parts}")
    network = AlexNet(width=width)
    table, gradients = exchanges(network), sum(p.numel() for p in network.parameters())
    # The profiler's library would tell of every start and stop.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    for precision in performance:
        fast = precision == "fast"
        timings, overlaps = in_processes(
            2, _measure, width, batch_size, list(micro_batches), fast, rounds
        )[0]
        one = next(t for t in timings if t.name == f"one process, threads={usable_cores()}")
        two = min((t for t in timings if t.name.startswith("columns")), key=lambda t: t.median)
        bytes_ = bytes_per_step(table, batch_size, 2 if fast else 4)
        yield Measured(
            f"A training step on {batch_size} images, performance={precision}",
            [timing.row(one) for timing in timings],
            {
                "ratio to": one.name,
                "columns and DDP": f"two processes, threads={_half()} each",
                "megabytes that each column sends": round(bytes_ / 1e6, 1),
                "megabytes of gradients that data parallelism averages": round(4e-6 * gradients, 1),
                # §4.2: two columns take slightly less time than the one-GPU net.
                **{
                    f"{two.name}: times as fast as {t.name}": round(two.times_as_fast_as(t), 3)
                    for t in timings
                    if t.name.startswith("one-GPU")
                },
            },
        )
        yield Measured(
            f"Exchange in a training step, performance={precision}, from the profiler's trace",
            [
                {
                    "micro_batches": parts,
                    "direction": way,
                    "exchange_ms": round(exchange, 1),
                    "hidden_ms": round(hidden, 1),
                    "hidden_share": round(hidden / max(exchange, 1e-9), 3),
                }
                for (parts, way), (exchange, hidden) in overlaps.items()
            ],
            {
                "exchange": "time in which at least one exchange ran, waiting for the other "
                "process included",
                "hidden": "the part of it in which this process computed",
            },
        )


def _half() -> int:
    return max(1, usable_cores() // 2)


def _measure(
    width: float, batch_size: int, micro_batches: Sequence[int], fast: bool, rounds: int
) -> tuple[list[Timing], dict[tuple[int, str], Overlap]]:
    """Runs in each of the two processes."""
    keep_freed_memory()  # as training does
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data_parallel", "columns"))
    images, label = (tensor.cpu() for tensor in random_batch(batch_size))

    def network(columns: Literal[1, 2] = 2) -> AlexNet:
        torch.manual_seed(0)
        return AlexNet(width=width, columns=columns).to(memory_format=torch.channels_last)

    def step(forward: Any, parameters: Any, part: slice = slice(None)) -> Step:
        # So small a rate that thousands of steps on one batch change no speed.
        return Step(forward, PaperSGD(parameters, lr=1e-9), images[part], label[part], fast)

    halves = network()
    split_parameters(halves, mesh)
    pipelines = {
        parts: step(ColumnPipeline(halves, mesh, parts), halves.parameters())
        for parts in micro_batches
    }
    replica = DistributedDataParallel(network(), gradient_as_bucket_view=True)
    half = batch_size // 2
    share = slice(half * dist.get_rank(), half * (dist.get_rank() + 1))
    contenders = {
        f"columns, micro-batches={parts}": partial(_seconds_of, pipeline, _half())
        for parts, pipeline in pipelines.items()
    }
    contenders["data parallelism (DDP)"] = partial(
        _seconds_of, step(replica, replica.parameters(), share), _half()
    )
    for name, alone, counts in (
        ("one process", network(), {usable_cores()}),
        ("one-GPU net", network(columns=1), {_half(), usable_cores()}),
    ):
        whole = step(alone, alone.parameters()) if dist.get_rank() == 0 else lambda: None
        for threads in sorted(counts):
            contenders[f"{name}, threads={threads}"] = partial(_seconds_of, whole, threads)
    timings = in_turn(contenders, rounds, batch_size)
    overlaps = {
        (parts, way): overlap
        for parts, pipeline in pipelines.items()
        for way, overlap in _profiled(pipeline, rounds).items()
    }
    dist.destroy_process_group()
    return timings, overlaps


def _seconds_of(step: Callable[[], object], threads: int) -> float:
    """Of a step that both processes make, or that the second sleeps through."""
    dist.barrier()
    # As many calls in both processes.
    return Timer("step()", globals={"step": step}, num_threads=threads).timeit(1).median


def _profiled(step: Callable[[], object], rounds: int) -> dict[str, Overlap]:
    """The exchanges of ``step`` by direction, in the median round."""
    torch.set_num_threads(_half())
    seen = []
    for _ in range(rounds):
        dist.barrier()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            step()
        seen.append(overlaps(profiler.events()))
    return {
        way: (
            statistics.median(found[way][0] for found in seen),
            statistics.median(found[way][1] for found in seen),
        )
        for way in WAYS.values()
    }


def overlaps(events: Sequence[Any]) -> dict[str, Overlap]:
    """Where a trace of one step shows exchanges, and computation of this process meanwhile."""
    threads = {event.thread for event in events if event.name.startswith("c10d::")}
    computed = [
        event for event in events if event.thread in threads and event.name.startswith("aten::")
    ]
    found = {}
    for collective, way in WAYS.items():
        crossing = [event for event in events if event.name == f"gloo:{collective}"]
        ran = _covered(crossing)
        hidden = ran + _covered(computed) - _covered([*crossing, *computed])
        found[way] = ran / 1000, hidden / 1000
    return found


def _covered(events: Iterable[Any]) -> float:
    """The microseconds in which at least one of the events ran."""
    covered, end = 0.0, -math.inf
    for time in sorted((event.time_range for event in events), key=lambda time: time.start):
        covered += max(0.0, time.end - max(time.start, end))
        end = max(end, time.end)
    return covered


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0, help="of the networks")
    parser.add_argument("--batch-size", type=positive, default=128, help="images of a step")
    parser.add_argument(
        "--micro-batches", type=positive, nargs="+", default=[1, 2, 4], help="parts of it"
    )
    precisions = ["exact", "fast"]
    parser.add_argument(
        "--performance", nargs="+", choices=precisions, default=precisions, help="fast: bfloat16"
    )
    run(parser, columns)
