"""The train command, which breaks off right after step ``$BREAK_AFTER``."""

import os
from typing import Any

import lightning as L

from alexnet_repro.train import main
from alexnet_repro.training.checkpoint import CheckpointFile, RunFolder

saved = RunFolder.on_train_batch_end


def then_break_off(self: RunFolder, trainer: L.Trainer, *arguments: Any) -> None:
    saved(self, trainer, *arguments)
    if trainer.global_step == int(os.environ["BREAK_AFTER"]):
        # No clearing up, as when the power fails; what has been saved is on the disk.
        CheckpointFile.wait()
        trainer.strategy.barrier()
        os._exit(0)


if __name__ == "__main__":
    RunFolder.on_train_batch_end = then_break_off  # type: ignore[method-assign]
    main()
