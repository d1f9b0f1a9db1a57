"""One exchange between the two columns (§4.2), and what a lost partner says."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet_repro.base.errors import UsageError, first_line

# Its name from torch 2.14 on, and before.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


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
    reason = first_line(error).rpartition("] ")[2].split(". ")[0]
    return UsageError(
        f"rank {dist.get_rank()} lost {other}, which ended or did not answer within "
        f"strategy.timeout ({reason})"
    )
