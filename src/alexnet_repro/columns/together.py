"""What all processes of a run have to know alike, settled before anything is built.

What a process decides from the disk, the clock or the environment (the run's folder, what it goes
on from, whether it is skipped) is decided by the first one, and told to the others: each of them
might find something else. Then they compare what they are about to do. They meet in the store of
torchrun, or in one that the first process of ``srun`` opens where torch opens its own later.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from alexnet_repro.base.config import LAUNCHED, global_rank, is_first
from alexnet_repro.base.errors import UsageError, first_line
from alexnet_repro.base.files import alone_in
from alexnet_repro.columns.launch import started_by_others

WAITING = timedelta(minutes=30)
"""For another process to start."""
PREPARING = timedelta(days=7)
"""For the first one, which may prepare images."""
OPENING = timedelta(minutes=1)
"""For the store of torchrun, which is there unless that was killed."""
LEAVING = timedelta(seconds=20)
"""For the others to hear why all of them end."""

SPEAKING = 1.0
"""Seconds in which the first process tells the user."""

SETTLED, ABSENT = "settled", "absent"


class Together:
    """The processes of a run while it starts; one that is alone agrees with itself."""

    def __init__(self) -> None:
        others = started_by_others()
        self.rank, self.count = global_rank(), 1 if others is None else others[1]
        self._store: Store | None = None
        self._left = False

    @property
    def store(self) -> Store:
        """Opened when it is needed: who waits in it, waits for all."""
        if self._store is None:
            torchrun = "TORCHELASTIC_RUN_ID" in os.environ
            if not torchrun:
                # Under srun nobody has said where the first process is.
                slurm = SLURMEnvironment()
                os.environ["MASTER_ADDR"] = slurm.main_address
                # Lightning takes "bash", as srun bash -c "alexnet train ..." names it, for a shell.
                os.environ["SLURM_JOB_NAME"] = "alexnet_repro"
                if "MASTER_PORT" not in os.environ:
                    # Steps of a job may run at once.
                    step = int(os.environ.get("SLURM_STEP_ID", 0))
                    os.environ["MASTER_PORT"] = str(slurm.main_port + step)
            opened, _, _ = next(
                rendezvous(
                    "env://", self.rank, self.count, timeout=OPENING if torchrun else WAITING
                )
            )
            self._store = PrefixStore("alexnet_repro", opened)
        return self._store

    def decided(self, decide: Callable[[], Any]) -> Any:
        """What the first process decides, or the command that launched it: plain values."""
        if told := os.environ.get(LAUNCHED):
            return json.loads(told)
        if self.count == 1:
            return decide()
        if self.rank == 0:
            self._tell("decided", value=decide())
        return self._told("decided", waiting=PREPARING)

    @contextmanager
    def alone_in(self, directory: Path) -> Iterator[None]:
        """Within it no other run trains in the folder of this one: the first process sees to it.

        Raises:
            UsageError: if somebody does.
        """
        with alone_in(directory) if is_first() else nullcontext(True) as alone:
            if not alone:
                raise UsageError(
                    f"{directory}: another run is being trained in it; wait for its end, or choose "
                    "another folder with hydra.run.dir="
                )
            yield

    def agree(self, mine: Mapping[str, Any]) -> None:
        """Compare what every process is about to do.

        Raises:
            UsageError: in all of them, naming the first one that differs, and how.
        """
        if self.count > 1:
            self._tell(f"rank {self.rank}", value=dict(mine))
            self._leave(self._verdict(mine) if self.rank == 0 else None)

    def _verdict(self, mine: Mapping[str, Any]) -> str | None:
        for rank in range(1, self.count):
            try:
                theirs = self._told(f"rank {rank}")
            except UsageError as error:
                return f"rank {rank}: {error}"
            for key in mine | theirs:
                here, there = mine.get(key, ABSENT), theirs.get(key, ABSENT)
                if here != there:
                    return f"rank {rank}: its {key} is {there}, that of rank 0 {here}"
        return None

    def refuse(self, error: UsageError) -> None:
        """Tell the others why this process cannot go on, and wait until they know."""
        if self.count == 1 or self._left:
            return
        with suppress(RuntimeError, UsageError):
            self._tell(f"rank {self.rank}" if self.rank else "decided", error=str(error))
            self._leave(str(error))

    def _leave(self, verdict: str | None) -> None:
        """Hear what came of it. The first process, which may hold the store, leaves last."""
        self._left = True
        heard = [f"heard {rank}" for rank in range(1, self.count)]
        if self.rank > 0:
            try:
                self._told(SETTLED, heard[self.rank - 1])
            except UsageError:
                # With the first process that ends, torchrun ends the one that says why.
                time.sleep(SPEAKING)
                raise
            return
        self._tell(SETTLED, error=verdict)
        with suppress(RuntimeError):
            self.store.wait(heard, LEAVING)
        if verdict is not None:
            raise UsageError(verdict)

    def _tell(self, key: str, value: Any = None, error: str | None = None) -> None:
        self.store.set(key, json.dumps({"value": value, "error": error}))

    def _told(self, key: str, heard: str = "heard", waiting: timedelta = WAITING) -> Any:
        deadline = time.monotonic() + waiting.total_seconds()
        try:
            # Waiting in the store, a process would not hear Ctrl-C.
            while not self.store.check([key]) and time.monotonic() < deadline:
                time.sleep(0.02)
            told = json.loads(self.store.get(key))
            self.store.set(heard, "")
        except RuntimeError as error:
            message = (
                f"rank {self.rank} timed out waiting for the others to start ({first_line(error)})"
            )
            raise UsageError(message) from error
        if told["error"] is not None:
            raise UsageError(told["error"])
        return told["value"]


@contextmanager
def together() -> Iterator[Together]:
    """Within it the processes of a run start; what one of them refuses ends all of them."""
    processes = Together()
    try:
        yield processes
    except UsageError as error:
        processes.refuse(error)
        raise
