"""Work that all cores share, each taking the next piece when it is done with one."""

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

import torch

from alexnet_repro.cores import usable_cores
from alexnet_repro.errors import UsageError
from alexnet_repro.memory import keep_freed_memory

Result = TypeVar("Result")
Claim = Callable[[], int]
Work = Callable[[Claim], Iterator[Result]]
"""From what gives the number of the next piece, to the results of the pieces that were taken."""

FORK = sys.platform == "linux"
"""Elsewhere a forked process is not safe, and threads share the work."""


def on_all_cores(work: Work[Result], at_most: int) -> Iterator[Result]:
    """Run ``work`` in processes on all cores, and yield their results as they come.

    Decoding images leaves Python's interpreter lock to others only in part; processes have their
    own. They end with this one, however that ends.

    Args:
        work: a generator function. It is called in every process with a function that claims the
            number of a piece nobody else gets.
        at_most: processes, if there are more cores.

    Raises:
        UsageError: if the system ended a process.
        Exception: the first that ``work`` raised.
    """
    workers = min(usable_cores(), at_most)
    if workers == 0:
        return iter(())
    return _in_processes(work, workers) if FORK else _in_threads(work, workers)


def _in_processes(work: Work[Result], workers: int) -> Iterator[Result]:
    context = multiprocessing.get_context("fork")
    claimed = context.Value("q", 0)
    parent = os.getpid()

    def claim() -> int:
        with claimed.get_lock():
            claimed.value += 1
            return int(claimed.value) - 1

    def child(results: Connection) -> None:
        # Ctrl-C is for the parent, which ends its children.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        keep_freed_memory()
        # The processes have all cores already; and threads of torch do not survive a fork.
        torch.set_num_threads(1)
        try:
            for result in work(claim):
                if os.getppid() != parent:
                    return
                results.send((result, None))
        except Exception as error:
            results.send((None, error))

    processes: dict[Connection, Any] = {}
    try:
        for _ in range(workers):
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=child, args=(sending,), daemon=True)
            process.start()
            sending.close()
            processes[receiving] = process
        while processes:
            for connection in wait(list(processes)):
                assert isinstance(connection, Connection)
                try:
                    result, error = connection.recv()
                except EOFError:
                    process = processes.pop(connection)
                    process.join()
                    if process.exitcode != 0:
                        raise UsageError(
                            f"a worker process ended with exit code {process.exitcode}, as if "
                            "memory had run out; the same command goes on after what is finished"
                        ) from None
                else:
                    if error is not None:
                        raise error
                    yield result
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _in_threads(work: Work[Result], workers: int) -> Iterator[Result]:
    claimed, lock, stopped = [0], threading.Lock(), threading.Event()
    results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    ended = object()

    def claim() -> int:
        with lock:
            claimed[0] += 1
            return claimed[0] - 1

    def run() -> None:
        try:
            for result in work(claim):
                results.put((result, None))
                if stopped.is_set():
                    break
            results.put((ended, None))
        except BaseException as error:
            results.put((ended, error))

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        running = workers
        while running:
            result, error = results.get()
            if error is not None:
                raise error
            if result is ended:
                running -= 1
            else:
                yield result
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
