"""Run by torchrun: replicas of whole networks train for ten steps; rank 0 saves what they have."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent))
from networks import STEPS, fitted, whole_networks

from alexnet_repro.base.build import build

STRATEGY = {"_target_": "lightning.pytorch.strategies.DDPStrategy", "timeout": 60}


def main(directory: str, start: str | None = None) -> None:
    torch.set_num_threads(1)
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    share = {"replica": rank, "replicas": processes}
    if start is not None:
        fitted(build(STRATEGY, "strategy"), start, f"{directory}/on.ckpt", **share)
        return
    for name, net in whole_networks().items():
        output = f"{directory}/{name}.ckpt"
        module = fitted(build(STRATEGY, "strategy"), None, output, **share, net=net, steps=STEPS)
        losses = torch.stack(module.losses)
        dist.all_reduce(losses)
        if rank == 0:
            found = {"losses": list(losses / processes), "gradients": module.gradients}
            torch.save(found, f"{directory}/{name}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
