"""AlexNet, as the paper describes it and as the 2012 program did it."""

from alexnet_repro.network.alexnet import AlexNet
from alexnet_repro.network.response_norm import ResponseNorm

__all__ = ["AlexNet", "ResponseNorm"]
