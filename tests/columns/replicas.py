"""Run by torchrun: replicas of two columns go on with a checkpoint; rank 0 saves another."""

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from networks import fitted

from alexnet_repro.columns.strategy import COLUMNS, ColumnPipelineStrategy


def main(start: str, output: str, accelerator: str = "cpu") -> None:
    torch.set_num_threads(1)
    # Ranks 2r and 2r + 1 are the columns of replica r, which has the r-th part of every batch.
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    fitted(
        ColumnPipelineStrategy(micro_batches=2),
        start=start,
        output=output,
        replica=rank // COLUMNS,
        replicas=processes // COLUMNS,
        accelerator=accelerator,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
