"""Signals that end a training: it saves where it is, says how to go on, and leaves.

Lightning answers SIGUSR1 under SLURM from within the signal, wherever in a step that happens to
arrive, and Ctrl-C without saving. Here a signal is noted, and the run ends between two steps, where
a checkpoint holds all there is to know.
"""

import logging
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from alexnet_repro.base.config import global_rank
from alexnet_repro.training.checkpoint import CheckpointFile, last_checkpoint

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
STEPS_ON_GPU = 10
"""Steps after which several GPUs agree on whether a signal has come."""


class Interruption(Checkpoint):
    """Ends a run after SIGINT (Ctrl-C), SIGTERM or SIGUSR1: between steps, when it has saved.

    Within the last step of an epoch and the validation after it, the run ends when the epoch is
    saved. A second Ctrl-C or SIGTERM ends the process at once.

    SLURM sends SIGUSR1 some time before a job's time is up, if it is asked to, and SIGTERM before
    another job takes its place; then the job is requeued.

    Args:
        directory: of the run.
        goes_on: whether the same command, started again, goes on with this run.
    """

    def __init__(self, directory: Path, goes_on: bool = False) -> None:
        self._last, self._goes_on = last_checkpoint(directory), goes_on
        self._received = 0
        self._training = False
        self._before: dict[int, Any] = {}
        self._noted: list[int] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # Lightning sets handlers of its own after this, and takes them back in the end.
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._training = True
        self._listen()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._training = False
        self._listen()

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if trainer.world_size > 1 and not on_cpu and trainer.global_step % STEPS_ON_GPU:
            return
        number = self._agreed(trainer)
        if number and not trainer.is_last_batch:
            trainer.save_checkpoint(self._last)
            self._end(number)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end_if_received(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end_if_received(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _listen(self) -> None:
        # Those of others, such as submitit's, which queues its jobs again itself, stay.
        ours = (signal.SIG_DFL, signal.default_int_handler)
        self._noted = [number for number, before in self._before.items() if before in ours]
        for number in self._noted:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self._training:
            sys.exit(128 + number)  # as a shell gives it
        self._received = number
        # Who started several processes passes on to them what they have heard themselves; at a time
        # limit both SLURM and srun send SIGTERM, and SIGKILL to what does not end.
        launched = "TORCHELASTIC_RUN_ID" in os.environ or slurm_job() is not None
        for again in self._noted:
            ignored = launched or again == signal.SIGUSR1
            signal.signal(again, signal.SIG_IGN if ignored else signal.SIG_DFL)
        if number == signal.SIGINT and global_rank() == 0:
            # print and logging may be what the signal broke into.
            os.write(2, b"\nsaving; Ctrl-C once more ends at once\n")

    def _end_if_received(self, trainer: L.Trainer) -> None:
        if number := self._agreed(trainer):
            self._end(number)

    def _agreed(self, trainer: L.Trainer) -> int:
        """The signal that any process has received by now, the same in all of them; 0 for none.

        What one of them receives a moment later counts the next time: all of them save, or none.
        """
        if trainer.world_size == 1:
            return self._received
        largest = torch.tensor(self._received, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return int(largest)

    def _end(self, number: int) -> None:
        CheckpointFile.wait()
        # SLURM ends a job at once when it is requeued: whatever is to be read is said before.
        log.info("%s: saved, stopping", signal.Signals(number).name)
        job = slurm_job() if global_rank() == 0 else None
        # A job that ends within the grace of a preemption is not queued again by SLURM itself.
        if job is not None and (number == signal.SIGUSR1 or preempted(job)):
            if self._goes_on:
                requeue(job)
            else:
                log.warning(
                    "SLURM job %s is not requeued, since its command would start over: add "
                    "skip_finished=true hydra.run.dir=FOLDER",
                    job,
                )
        sys.exit(128 + number)  # as a shell gives it


def slurm_job() -> str | None:
    """The SLURM job of this process, as scontrol names it."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def preempted(job: str) -> bool:
    """Whether SLURM ends a job since another one needs its place."""
    with suppress(OSError, subprocess.CalledProcessError):
        told = subprocess.run(
            ["scontrol", "show", "job", job], check=True, capture_output=True, text=True
        ).stdout
        return re.search(r"\bPreemptTime=\d", told) is not None
    return False


def requeue(job: str) -> None:
    """Have SLURM queue a job again; what is wrong with that is told."""
    if re.fullmatch(r"[0-9_]+", job) is None:
        log.warning("%r is not the name of a SLURM job: not requeued", job)
        return
    log.info("requeueing SLURM job %s", job)
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip()
        log.warning("SLURM job %s could not be requeued (%s)", job, reason)
