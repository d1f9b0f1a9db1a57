"""Run by torchrun in four processes: two replicas of two columns train through Lightning."""

import os
import sys
from pathlib import Path

import lightning as L
import torch

sys.path.insert(0, str(Path(__file__).parent))
from networks import CLASSES, STEPS, batches, network, optimizer

from alexnet_repro.columns.strategy import ColumnPipelineStrategy
from alexnet_repro.learning.module import ImageClassifier


def main(output: str) -> None:
    torch.set_num_threads(1)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=4,
        strategy=ColumnPipelineStrategy(micro_batches=2),
        precision="64-true",
        max_steps=STEPS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    module = ImageClassifier(network(), CLASSES, optimizer)
    # Ranks 2r and 2r + 1 are the columns of replica r, which has the r-th half of every batch.
    trainer.fit(module, batches(replica=int(os.environ["RANK"]) // 2, replicas=2))
    trainer.save_checkpoint(output, weights_only=False)


if __name__ == "__main__":
    main(sys.argv[1])
