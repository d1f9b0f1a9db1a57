"""Run by torchrun: what two columns compute of the networks of ``networks``; rank 0 saves it."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

sys.path.insert(0, str(Path(__file__).parent))
from networks import VARIANTS, batch, network, steps, trained

from alexnet_repro import AlexNet
from alexnet_repro.columns.pipeline import ColumnPipeline, split_parameters


class Collectives(TorchDispatchMode):
    """Writes down every collective that torch dispatches, with the bytes that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op.namespace in ("c10d", "_c10d_functional"):
            name = op.__name__.split(".")[0]
            given = next(a for a in reversed([a for a in args if isinstance(a, Tensor)][:2]))
            self.calls.append((name, given.numel() * given.element_size()))
        return op(*args, **(kwargs or {}))


def of_two_columns(net: AlexNet, mesh: DeviceMesh, micro_batches: int) -> AlexNet:
    split_parameters(net, mesh)
    net.forward = ColumnPipeline(net, mesh, micro_batches)  # type: ignore[method-assign]
    return net


def exchanged(net: AlexNet, autocast: bool) -> list[tuple[str, int]]:
    """The collectives of one training step."""
    images, label = batch(0)
    net = net.float()
    with Collectives() as seen:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = net(images.float())
        cross_entropy(logits.float(), label).backward()
    return seen.calls


def dropped(mesh: DeviceMesh, seed: int) -> tuple[Tensor, Tensor]:
    """Which neurons of fc6 either column keeps in one step, as (image, neuron) of both columns."""
    from alexnet_repro.training.module import ImageClassifier

    net = of_two_columns(network(dropout=0.5), mesh, 1)
    kept = []
    net.fc6_dropout.register_forward_hook(lambda _, __, output: kept.append(output != 0))
    module = ImageClassifier(net, 7, lambda n: torch.optim.SGD(n.parameters()), seed)
    # What Lightning's trainer tells the module of its process.
    type(module).global_rank = property(lambda _: dist.get_rank())  # type: ignore[assignment]
    type(module).global_step = property(lambda _: 3)  # type: ignore[assignment]
    module.on_train_batch_start({}, 0)
    module(batch(0)[0])
    both = [torch.empty_like(kept[0]) for _ in range(2)]
    dist.all_gather(both, kept[0])
    return both[0], both[1]


def main(output: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data_parallel", "columns"))
    found: dict[Any, Any] = {}
    for variant in VARIANTS:
        for micro_batches in (1, 2, 4):
            net = of_two_columns(network(variant), mesh, micro_batches)
            found[variant, micro_batches] = trained(
                net, lambda part: part.full_tensor(), steps(variant)
            )
    for variant in ("paper", "six_conv", "remove_conv3"):
        for micro_batches in (1, 4):
            for autocast in (False, True):
                net = of_two_columns(network(variant), mesh, micro_batches)
                found["exchanged", variant, micro_batches, autocast] = exchanged(net, autocast)
    found["dropped"] = [dropped(mesh, seed) for seed in (1, 1, 2)]
    if dist.get_rank() == 0:
        torch.save(found, output)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
