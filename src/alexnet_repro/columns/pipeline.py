"""One column of the network, and the order in which micro-batches flow through it.

The network stays the one of ``network/alexnet.py``. What a process computes is derived from it,
layer by layer: half of the kernels or neurons, which read what reaches this column.
"""

from collections import OrderedDict

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.func import functional_call
from torch.nn.functional import pad

from alexnet_repro.columns.exchange import Crossing
from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.network.layers import ResponseNorm
from alexnet_repro.network.structure import reads, stages


def split_parameters(network: AlexNet, mesh: DeviceMesh) -> None:
    """Make every parameter a DTensor of which this process holds its column's half.

    A column's half is the first or second half of the whole along dimension 0, whatever the layer.

    Args:
        network: on every process with the same values.
        mesh: (data_parallel, columns).
    """
    for layer in network.children():
        for name, whole in list(layer.named_parameters(recurse=False)):
            half = own_half(whole.detach(), mesh)
            layer.register_parameter(name, nn.Parameter(half, whole.requires_grad))


def own_half(whole: Tensor, mesh: DeviceMesh) -> DTensor:
    """``whole``, which every process has, as a DTensor: this one keeps its column's half."""
    half = whole.chunk(2)[mesh.get_local_rank(1)].clone()
    return DTensor.from_local(
        half.to(mesh.device_type),
        mesh,
        (Replicate(), Shard(0)),
        run_check=False,
        shape=whole.shape,
        stride=whole.stride(),
    )


def column_layer(name: str, layer: nn.Module, columns: int) -> nn.Module:
    """``layer`` as one column has it; without values where it has parameters."""
    if isinstance(layer, nn.Conv2d):
        reads_all = reads(name, layer, columns) != "own column"
        return nn.Conv2d(
            layer.in_channels if reads_all else layer.in_channels // columns,
            layer.out_channels // columns,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            device="meta",
        )
    if isinstance(layer, nn.Linear):
        # Its values bring their size with them: with an odd number of classes the halves differ.
        return nn.Linear(layer.in_features, layer.out_features // columns, device="meta")
    if isinstance(layer, ResponseNorm):
        return ResponseNorm(n=layer.n, k=layer.k, alpha=layer.alpha, beta=layer.beta, dim=layer.dim)
    return layer


class ColumnPipeline:
    """Calls one column of ``network`` on a batch, in micro-batches.

    Every stage, which ends with an exchange, runs for every micro-batch before the next stage
    begins. So while the output of one micro-batch crosses, the next one is computed. The output is
    that of the whole batch, and so is the gradient of any loss on it.

    Args:
        network: with parameters that are split already.
        mesh: (data_parallel, columns).
        micro_batches: parts of a batch; of one that it does not divide, at most that many.
    """

    def __init__(self, network: AlexNet, mesh: DeviceMesh, micro_batches: int) -> None:
        self.network, self.micro_batches = network, micro_batches
        self.group: dist.ProcessGroup = mesh.get_group(1)
        self.num_classes = network.fc8.out_features
        layers = dict(network.named_children())
        self.stages = [
            nn.Sequential(
                OrderedDict(
                    (name, column_layer(name, layers[name], network.columns)) for name in names
                )
            )
            for names in stages(network)
        ]

    def __call__(self, images: Tensor) -> Tensor:
        """Images (batch, 3, 224, 224) → logits (batch, num_classes), the same on both columns."""
        own = {
            name: parameter.to_local() if isinstance(parameter, DTensor) else parameter
            for name, parameter in self.network.named_parameters()
        }
        last = len(self.stages) - 1
        parts = list(images.chunk(min(self.micro_batches, len(images))))
        crossings: list[Crossing] = []
        for number, stage in enumerate(self.stages):
            values = {name: own[name] for name, _ in stage.named_parameters()}
            arrived, crossings = crossings, []
            for i, part in enumerate(parts):
                x = arrived[i].receive(part) if arrived else part
                x = functional_call(stage, values, (x,))
                if number == last:
                    # Halves of the same size can be gathered.
                    x = pad(x, (0, (self.num_classes + 1) // 2 - x.shape[1]))
                crossings.append(Crossing(self.group, gradient=number != last))
                parts[i] = crossings[i].send(x)
        logits = [crossing.receive(part) for crossing, part in zip(crossings, parts, strict=True)]
        return torch.cat(logits)[:, : self.num_classes]
