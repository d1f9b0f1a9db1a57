"""Run by torchrun: what two columns compute of every network of ``networks``; rank 0 saves it."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

sys.path.insert(0, str(Path(__file__).parent))
from networks import STEPS, VARIANTS, network, trained

from alexnet_repro.columns.pipeline import ColumnPipeline, split_parameters


def main(output: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data_parallel", "columns"))
    found = {}
    for variant in VARIANTS:
        for micro_batches in (1, 2, 4):
            net = network(variant)
            split_parameters(net, mesh)
            net.forward = ColumnPipeline(net, mesh, micro_batches)
            steps = STEPS if variant == "paper" else 2
            found[variant, micro_batches] = trained(net, lambda part: part.full_tensor(), steps)
    if dist.get_rank() == 0:
        torch.save(found, output)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
