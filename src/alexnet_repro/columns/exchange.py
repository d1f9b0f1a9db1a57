"""What crosses between the two columns (§4.2, Fig. 2): the table of exchanges, and the crossing.

A layer reads the maps of its own column, or those of both. Only where it reads both must anything
cross, and then it is the output of the layer before: each column sends its half.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from alexnet_repro.errors import UsageError
from alexnet_repro.network.alexnet import INPUT_SIZE, AlexNet

# Its name from torch 2.14 on, and before.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor

LOSS = "loss"
"""What reads the last exchange: the softmax over all logits."""


@dataclass(frozen=True)
class Exchange:
    """One place where the columns exchange their halves, for one image.

    Attributes:
        output: the layer whose output crosses: ``conv2_pool``, ``fc6_dropout``, …
        reader: the layer that reads both halves: ``conv3``, … or ``loss``.
        shape: of one column's half: (maps, height, width) or (neurons,).
        gradient: whether the gradient crosses back. That of the logits need not: both columns
            compute the same loss, so each has all of it.
    """

    output: str
    reader: str
    shape: tuple[int, ...]
    gradient: bool

    @property
    def values(self) -> int:
        """Numbers that each column sends for one image, forward and backward together."""
        return prod(self.shape) * (2 if self.gradient else 1)


def reads(name: str, layer: nn.Module, columns: int) -> str:
    """What a convolution or fully connected layer reads.

    ``image``, ``own column`` or ``both columns``; of a one-column network ``all maps``.
    """
    if name == "conv1":
        return "image"
    if columns == 1:
        return "all maps"
    grouped = isinstance(layer, nn.Conv2d) and layer.groups == columns
    return "own column" if grouped else "both columns"


def stages(network: AlexNet) -> list[list[str]]:
    """The names of the layers between the exchanges: every stage but the first reads both columns.

    The network of the paper has conv1–2 | conv3–5 | fc6 | fc7 | fc8, with what follows each.
    """
    names: list[list[str]] = [[]]
    for name, layer in network.named_children():
        has_weights = isinstance(layer, nn.Conv2d | nn.Linear)
        if has_weights and reads(name, layer, network.columns) == "both columns":
            names.append([])
        names[-1].append(name)
    return names


def exchanges(network: AlexNet) -> list[Exchange]:
    """The table of exchanges of a two-column network, in order."""
    outputs: dict[str, tuple[int, ...]] = {}
    with torch.no_grad():
        x = torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE)
        for name, layer in network.named_children():
            x = layer(x)
            outputs[name] = tuple(x.shape[1:])
    between = stages(network)
    table = []
    for stage, following in zip(between, [*between[1:], [LOSS]], strict=True):
        whole, *positions = outputs[stage[-1]]
        # An odd number of classes: the first column has one more, the second sends one unused.
        half = (whole + whole % 2) // 2
        # Flattening moves no value between columns: say which maps cross, not their list.
        last = stage[-2] if stage[-1] == "flatten" else stage[-1]
        shape = (half, *positions)
        if last != stage[-1]:
            shape = (outputs[last][0] // 2, *outputs[last][1:])
        table.append(Exchange(last, following[0], shape, gradient=following[0] != LOSS))
    return table


def bytes_per_step(table: Iterable[Exchange], batch_size: int, bytes_per_value: int = 4) -> int:
    """What each column sends for one training step on ``batch_size`` images."""
    return batch_size * bytes_per_value * sum(exchange.values for exchange in table)


class Crossing:
    """One exchange of one micro-batch: sent when it is there, awaited only where it is read.

    Between :meth:`send` and :meth:`receive` the caller computes something else. On the way back it
    is the same: the gradient leaves in the backward of ``receive`` and is awaited in that of
    ``send``, and autograd, which goes through the calls in reverse order, computes in between what
    was computed in between on the way there.

    Args:
        group: the processes of the two columns.
        gradient: see :class:`Exchange`; without, each column keeps its half of the gradient.
    """

    def __init__(self, group: dist.ProcessGroup, gradient: bool) -> None:
        self.group, self.gradient = group, gradient
        self.column = dist.get_rank(group)
        self._shape: torch.Size = torch.Size()
        self._stride: tuple[int, ...] = ()
        self._work: dist.Work | None = None

    def send(self, own: Tensor) -> Tensor:
        """Start sending ``own``, (batch, half, …). What comes back is for :meth:`receive` only."""
        sent: Tensor = _Send.apply(own, self)
        return sent

    def receive(self, sent: Tensor) -> Tensor:
        """Wait for the other half → (batch, both halves, …)."""
        both: Tensor = _Receive.apply(sent, self)
        return both

    def halves(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """Views of a flat buffer as the two halves, in the memory format of what was sent."""
        first, second = (half.as_strided(self._shape, self._stride) for half in both.chunk(2))
        return first, second

    def wait(self) -> None:
        assert self._work is not None
        try:
            self._work.wait()
        except RuntimeError as error:
            other = dist.get_process_group_ranks(self.group)[1 - self.column]
            raise lost(f"rank {other}", error) from error
        finally:
            self._work = None


class _Send(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, crossing: Crossing) -> Tensor:
        ctx.crossing = crossing
        channels_last = own.dim() == 4 and own.is_contiguous(memory_format=torch.channels_last)
        own = own if channels_last else own.contiguous()
        crossing._shape, crossing._stride = own.shape, own.stride()
        both = own.new_empty(2 * own.numel())
        flat = own.as_strided((own.numel(),), (1,))
        crossing._work = _all_gather(both, flat, crossing.group, async_op=True)
        return both

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        crossing: Crossing = ctx.crossing
        if not crossing.gradient:
            return crossing.halves(gradients[0])[crossing.column], None
        crossing.wait()
        first, second = crossing.halves(gradients[0])
        return first + second, None


class _Receive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sent: Tensor, crossing: Crossing) -> Tensor:
        ctx.crossing = crossing
        crossing.wait()
        return torch.cat(crossing.halves(sent), dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        crossing: Crossing = ctx.crossing
        both = gradients[0].new_empty(gradients[0].numel())
        for half, gradient in zip(crossing.halves(both), gradients[0].chunk(2, dim=1), strict=True):
            half.copy_(gradient)
        if not crossing.gradient:
            return both, None
        # Each column has a part of the gradient of both halves: it keeps its own half and gets
        # from the other column that one's part of it.
        parts = torch.empty_like(both)
        crossing._work = dist.all_to_all_single(parts, both, group=crossing.group, async_op=True)
        return parts, None


def between_processes(error: BaseException) -> UsageError | None:
    """What to say where torch, Lightning or torchmetrics waited for another process in vain, or
    replicas left weights out; None for any other error.
    """
    if isinstance(error, dist.DistError) or "gloo" in str(error):
        pair = dist.get_world_size() == 2
        return lost(f"rank {1 - dist.get_rank()}" if pair else "another rank", error)
    if "Expected to have finished reduction in the prior iteration" in str(error):
        return UsageError(
            "strategy: some weights of the network take no part in the loss; add "
            "strategy.find_unused_parameters=true"
        )
    return None


def lost(other: str, error: BaseException) -> UsageError:
    """The message for an exchange with the process ``other`` that failed."""
    # Before the reason stands a line of the library's source, after it advice for its developers.
    reason = str(error).splitlines()[0].rpartition("] ")[2].split(". ")[0]
    return UsageError(
        f"rank {dist.get_rank()} lost {other}, which ended or did not answer within "
        f"strategy.timeout ({reason})"
    )
