"""The four-layer networks for CIFAR-10 (Fig. 1, §4.3), as the notes of the 2012 program have them.

The paper gives no details of either. The program's two networks, named after the test error that
they reach, are the ones that fit its words.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from alexnet_repro.base.build import (
    ArgumentsOf,
    Classes,
    NonNegative,
    Pixels,
    checks_arguments,
)
from alexnet_repro.network.layers import NormArguments, ResponseNorm, WithinMapNorm

WithinMapArguments = Annotated[Mapping[str, Any], ArgumentsOf(WithinMapNorm)]
WEIGHT_STD = 0.01


class LocallyConnected(nn.Module):
    """A convolution of stride 1 whose kernels are others at every position: unshared weights.

    Args:
        maps: number of maps of the input.
        kernels: at each position, which is the number of maps of the output.
        size: height and width of a kernel in pixels; odd, so that padding keeps the maps' size.
        side: height and width of the maps.

    Shape: (batch, maps, side, side) → (batch, kernels, side, side), or both without the batch. The
    weights are (side², maps · size², kernels), the biases (side², 1, kernels).
    """

    def __init__(self, maps: int, kernels: int, size: int, side: int) -> None:
        super().__init__()
        self.maps, self.kernels, self.size, self.side = maps, kernels, size, side
        self.weight = nn.Parameter(torch.zeros(side**2, maps * size**2, kernels))
        self.bias = nn.Parameter(torch.zeros(side**2, 1, kernels))

    def forward(self, x: Tensor) -> Tensor:
        windows = functional.unfold(x, self.size, padding=self.size // 2)
        windows = windows.reshape(-1, self.maps * self.size**2, self.side**2)
        at_positions = torch.baddbmm(self.bias, windows.permute(2, 0, 1), self.weight)
        maps = (self.kernels, self.side, self.side)
        shape = x.shape[:-3] + maps  # not unpacked: of a graph's shape the length is unknown
        return at_positions.permute(1, 2, 0).reshape(shape)

    def extra_repr(self) -> str:
        return f"{self.maps}, {self.kernels}, size={self.size}, side={self.side}"


class CifarNet(nn.Sequential):
    """What the two networks share: their building blocks and how they start.

    Args:
        num_classes: neurons of fc10.
        activation: ``relu`` or ``tanh`` (§4.1).
        response_norm: constants of :class:`ResponseNorm` for a norm over adjacent maps in layers 1
            and 2 (§4.3), or None.
        within_map_norm: constants of :class:`WithinMapNorm` for the program's norm over a square of
            the same map in the same places, or None.
        input_size: height and width of the images in pixels.
        weight_std: standard deviation of the zero-mean Gaussian initial weights by layer; layers
            not named get 0.01. Biases start at 0.

    Shape: images (batch, 3, input_size, input_size), RGB 0–255 minus the training mean → logits
    (batch, num_classes); one image (3, input_size, input_size) → (num_classes,).
    """

    columns = 1

    @checks_arguments
    def __init__(
        self,
        num_classes: Classes = 10,
        activation: Literal["relu", "tanh"] = "relu",
        response_norm: NormArguments | None = None,
        within_map_norm: WithinMapArguments | None = None,
        input_size: Pixels = 32,
        weight_std: Mapping[str, NonNegative] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.input_size, self._activation = input_size, activation
        self._response_norm, self._within_map_norm = response_norm, within_map_norm
        self._maps, self._side = 3, input_size
        self._hidden_layers()
        self.flatten = nn.Flatten(start_dim=-3)
        self.fc10 = nn.Linear(self._maps * self._side**2, num_classes)
        self.reset_parameters(weight_std)

    def _hidden_layers(self) -> None:
        raise NotImplementedError

    @torch.no_grad()
    def reset_parameters(self, weight_std: Mapping[str, float]) -> None:
        """Draw the weights anew from N(0, weight_std) and set the biases to 0."""
        for layer, module in self.named_children():
            if isinstance(module, nn.Conv2d | nn.Linear | LocallyConnected):
                module.weight.normal_(0, weight_std.get(layer, WEIGHT_STD))
                assert module.bias is not None
                module.bias.zero_()

    def _convolution(self, layer: str, kernels: int) -> None:
        self.add_module(layer, nn.Conv2d(self._maps, kernels, 5, padding=2))
        self._maps = kernels

    def _local(self, layer: str, kernels: int) -> None:
        self.add_module(layer, LocallyConnected(self._maps, kernels, 3, self._side))
        self._maps = kernels

    def _nonlinearity(self, layer: str) -> None:
        # Not in place: what it reads may be what a norm or a pooling layer keeps for backward.
        module = nn.ReLU() if self._activation == "relu" else nn.Tanh()
        self.add_module(f"{layer}_{self._activation}", module)

    def _pooling(self, layer: str, kind: Literal["max", "average"]) -> None:
        # 3×3 pixels, stride 2; the last window may run over the edge.
        pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
        self.add_module(f"{layer}_pool", pool(3, stride=2, ceil_mode=True))
        self._side = 1 + -(-(self._side - 3) // 2)

    def _normalization(self, layer: str) -> None:
        if self._response_norm is not None:
            norm = ResponseNorm(self._maps, dim=-3, **self._response_norm)
            self.add_module(f"{layer}_norm", norm)
        if self._within_map_norm is not None:
            within = WithinMapNorm(**self._within_map_norm)
            self.add_module(f"{layer}_within_map_norm", within)


class Cifar18Net(CifarNet):
    """The "18%" network: three convolutions and a fully connected layer (Fig. 1).

    conv1 32, max-pool, activation, norm; conv2 32, activation, average-pool, norm; conv3 64,
    activation, average-pool; fc10. The arguments are those of :class:`CifarNet`.
    """

    def _hidden_layers(self) -> None:
        self._convolution("conv1", 32)
        self._pooling("conv1", "max")
        self._nonlinearity("conv1")
        self._normalization("conv1")
        self._convolution("conv2", 32)
        self._nonlinearity("conv2")
        self._pooling("conv2", "average")
        self._normalization("conv2")
        self._convolution("conv3", 64)
        self._nonlinearity("conv3")
        self._pooling("conv3", "average")


class Cifar13Net(CifarNet):
    """The "13%" network: two convolutions and two locally connected layers (§4.3).

    conv1 64, activation, max-pool, norm; conv2 64, activation, max-pool, norm; local3 32,
    activation; local4 32, activation; fc10. The norms are what brings 13 % to 11 %. The arguments
    are those of :class:`CifarNet`.
    """

    def _hidden_layers(self) -> None:
        for layer in ("conv1", "conv2"):
            self._convolution(layer, 64)
            self._nonlinearity(layer)
            self._pooling(layer, "max")
            self._normalization(layer)
        for layer in ("local3", "local4"):
            self._local(layer, 32)
            self._nonlinearity(layer)
