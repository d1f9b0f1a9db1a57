"""Run by torchrun: replicas of two columns go on with a checkpoint; rank 0 saves another."""

import os
import sys
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch.accelerators import CUDAAccelerator

sys.path.insert(0, str(Path(__file__).parent))
from networks import fitted

from alexnet_repro.columns.strategy import COLUMNS, ColumnPipelineStrategy


def share_a_gpu() -> None:
    """Have Lightning place every process on the first GPU; torch would look for one for each."""
    torch.cuda.init()
    CUDAAccelerator.parse_devices = staticmethod(lambda devices: [0] * devices)  # type: ignore[method-assign, assignment]
    CUDAAccelerator.auto_device_count = staticmethod(lambda: COLUMNS)  # type: ignore[method-assign]


def main(
    start: str,
    output: str,
    accelerator: str = "cpu",
    backend: Literal["auto", "nccl", "gloo"] = "auto",
) -> None:
    torch.set_num_threads(1)
    if accelerator == "gpu" and backend == "gloo":
        share_a_gpu()
    # Ranks 2r and 2r + 1 are the columns of replica r, which has the r-th part of every batch.
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    fitted(
        ColumnPipelineStrategy(micro_batches=2, backend=backend),
        start=start,
        output=output,
        replica=rank // COLUMNS,
        replicas=processes // COLUMNS,
        accelerator=accelerator,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
