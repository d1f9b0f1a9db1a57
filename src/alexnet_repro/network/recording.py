"""When a layer has to be written in torch's own operations, of which torch knows everything."""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def by_torchs_operations(x: Tensor) -> bool:
    """Whether what is computed of x is more than an ordinary forward and backward.

    ``torch.compile``, ``torch.export`` and ``torch.jit.trace`` write the operations down,
    ``torch.func`` and forward-mode derivatives transform them, and on the meta device there are
    shapes only. None of them sees into a ``torch.autograd.Function`` that works in place.
    """
    return (
        torch.compiler.is_compiling()
        or traced()
        # What Function.apply itself asks before it refuses; there is no public way.
        or torch._C._are_functorch_transforms_active()
        or forward_ad.unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]
        or x.device.type == "meta"
    )


def traced() -> bool:
    """Whether ``torch.jit.trace`` is at work, which takes sizes for unknown."""
    return torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined, no-any-return]
