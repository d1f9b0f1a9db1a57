"""What a network says of several views of an image, and the average over them (§5.1)."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def log_probabilities(network: Callable[[Tensor], Tensor], views: Iterable[Tensor]) -> Tensor:
    """Logarithm of the softmax for every view: (views, B, classes).

    Args:
        views: each (B, 3, input, input); one after the other, so that only one is held.
    """
    return torch.stack([network(view).float().log_softmax(dim=1) for view in views])


def log_mean(log_probabilities: Tensor) -> Tensor:
    """Logarithm of the mean probability over the first dimension (§5.1, Table 2).

    It stays finite where probabilities are too small for 32 bit.
    """
    return log_probabilities.logsumexp(dim=0) - math.log(len(log_probabilities))
