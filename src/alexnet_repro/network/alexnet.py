"""The network of the paper (§3–4, Fig. 2), top to bottom, with the paper's ablations as options."""

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.nn import functional

from alexnet_repro.base.build import (
    Classes,
    Fraction,
    NonNegative,
    checks_arguments,
)
from alexnet_repro.network.layers import (
    PAPER_NORM,
    MaxPool,
    NormArguments,
    ResponseNorm,
    WithinMapNorm,
    traced,
)

INPUT_SIZE = 224
"""Height and width, in pixels, of the images that the network reads (§4.5)."""

WINDOWS_SIZE = 227
"""What the windows of conv1 cover of a side: 55 of them, 4 pixels apart, 11 wide."""

PIXEL_SCALE = 64
"""About the standard deviation of pixels 0–255; He's initialization takes inputs of variance 1."""

KERNELS = {"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256, "conv6": 256}
NEURONS = {"fc6": 4096, "fc7": 4096}
ONE_GPU_KERNELS = {"conv1": 48, "conv2": 128, "conv3": 192, "conv4": 192, "conv5": 256}
"""The one-GPU net (footnote of §4.2): conv1–4 halved, conv5 and the rest are not."""

LAYERS = (*KERNELS, *NEURONS, "fc8")
WEIGHT_STD = MappingProxyType(dict.fromkeys(LAYERS, 0.01))
"""§6: weights start at N(0, 0.01)."""
BIASES = MappingProxyType(
    {layer: float(layer not in ("conv1", "conv3", "fc8")) for layer in LAYERS}
)
"""§6: neuron biases start at 1, those of conv1, conv3 and fc8 at 0."""


def _not_conv1(removed: Any) -> Any:
    if removed == 1:
        raise ValueError(
            "conv1 cannot be removed, since its stride of 4 is what brings the 224×224 image down "
            "to 55×55 maps; choose 2, 3, 4 or 5, or null for none"
        )
    return removed


Removed = Annotated[Literal[2, 3, 4, 5] | None, BeforeValidator(_not_conv1)]
Width = Annotated[float, Field(gt=0, le=16)]


class Dropout(nn.Module):
    """Dropout as the paper does it (§5.2): no scaling while training, outputs × (1 − p) at test.

    ``torch.nn.Dropout`` divides by 1 − p while training instead. The two are the same function at
    test for weights scaled accordingly, but not the same training from N(0, 0.01) weights.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.p, self.training) * (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class PadTo(nn.Module):
    """Zeros at the right and at the bottom of images of ``smaller`` pixels a side, up to ``size``.

    Images of ``size`` pixels stay as they are, others are refused.

    Shape: (…, smaller, smaller) or (…, size, size) → (…, size, size).
    """

    def __init__(self, size: int, smaller: int) -> None:
        super().__init__()
        self.size, self.smaller = size, smaller

    def forward(self, x: Tensor) -> Tensor:
        return pad_to(x, self.size, self.smaller)

    def extra_repr(self) -> str:
        return f"size={self.size}, smaller={self.smaller}"


@torch.fx.wrap  # one node of a graph: it looks at the size
def pad_to(x: Tensor, size: int, smaller: int) -> Tensor:
    """What :class:`PadTo` computes.

    Raises:
        ValueError: for images of another size.
    """
    sides = () if traced() else tuple(x.shape[-2:])
    if sides and sides not in ((smaller, smaller), (size, size)):
        raise ValueError(
            f"images of {'×'.join(map(str, sides))} pixels: the network reads {smaller}×{smaller} "
            f"(§4.5), or {size}×{size}, which need no zeros at their edges"
        )
    return functional.pad(x, (0, size - x.shape[-1], 0, size - x.shape[-2]))


class AlexNet(nn.Sequential):
    """The paper's network. ``AlexNet()`` is Fig. 2: 60,965,224 parameters, 659,272 neurons.

    Half of the kernels and neurons of every layer form a *column*, which the paper puts on one
    GPU. conv2, conv4 and conv5 read the maps of their own column only, which on one device is a
    convolution in two groups; conv3 and the fully connected layers read both columns. Every
    parameter is split between the columns along its first dimension and no other.

    Args:
        num_classes: neurons of fc8.
        columns: 2, or 1 for the one-GPU net of §4.2 (conv1–4 with half the kernels).
        activation: ``relu`` or ``tanh`` (§4.1).
        response_norm: keyword arguments of :class:`ResponseNorm` for the norms after conv1 and
            conv2 (§4.3), or None for a network without them. ``columns`` among them says how
            many columns are normalized separately, if not those of the network: 1 for Caffe's.
        pool: ``overlapping`` (z=3, s=2; §4.4) or ``nonoverlapping`` (z=2, s=2).
        dropout: probability with which a neuron of fc6 and fc7 is dropped (§5.2); 0 for none.
        removed_conv: 2, 3, 4 or 5: leave that convolution out, with its activation and its norm
            (§7). Its pooling stays, so the maps of later layers keep their size; without conv3 it
            is conv4 that reads both columns, without conv2 conv3 reads the maps of conv1.
        sixth_conv: add conv6 over the last pooling layer (§7): 256 kernels 3×3 over both columns.
        width: factor on the number of kernels and neurons of every layer but fc8.
        norm_before_relu_in_conv1: the 2012 program's layer 1: norm, pool, then the activation.
        within_map_norm_in_conv2: the 2012 program's second normalization in layer 2.
        norm_after_pool: pool, then norm, in layers 1 and 2, as Caffe's CaffeNet does.
        batch_norm: batch normalization (Ioffe & Szegedy 2015) after every convolution, before its
            activation; not in the paper.
        weight_std: standard deviation of the zero-mean Gaussian initial weights (§6), by layer;
            layers not named get 0.01. ``he`` for the standard deviations of He et al. (2015).
        bias: initial biases by layer; layers not named get the paper's.

    Shape: images (batch, 3, 224, 224), RGB 0–255 minus the training mean → logits
    (batch, num_classes); one image (3, 224, 224) → (num_classes,). Of images of 227×227, which
    Caffe crops, no edge is zeros. Images of any other size are refused.

    Raises:
        ValueError: naming the argument that has no meaning.
    """

    input_size = INPUT_SIZE

    @checks_arguments
    def __init__(
        self,
        num_classes: Classes = 1000,
        columns: Literal[1, 2] = 2,
        activation: Literal["relu", "tanh"] = "relu",
        response_norm: NormArguments | None = PAPER_NORM,
        pool: Literal["overlapping", "nonoverlapping"] = "overlapping",
        dropout: Fraction = 0.5,
        removed_conv: Removed = None,
        sixth_conv: bool = False,
        width: Width = 1.0,
        norm_before_relu_in_conv1: bool = False,
        within_map_norm_in_conv2: bool = False,
        norm_after_pool: bool = False,
        batch_norm: bool = False,
        weight_std: Mapping[str, NonNegative] | Literal["he"] = WEIGHT_STD,
        bias: Mapping[str, float] = BIASES,
    ) -> None:
        super().__init__()
        if norm_after_pool and norm_before_relu_in_conv1:
            raise ValueError("norm_after_pool and norm_before_relu_in_conv1 exclude each other")
        self.columns, self.width = columns, width
        self._activation, self._pool = activation, pool
        self._batch_norm = batch_norm
        self._response_norm = None if response_norm is None else dict(response_norm)
        self._maps = 3

        # Windows of conv1 start at every fourth pixel from the left and top edges; the last one
        # runs 3 pixels past the right and bottom edges, which read as zeros. So 224 gives 55.
        self.conv1_pad = PadTo(WINDOWS_SIZE, INPUT_SIZE)
        self._convolution("conv1", 11, stride=4, padding=0, reads_both_columns=True)
        if norm_before_relu_in_conv1:
            self._normalization("conv1")
            self._pooling("conv1")
            self._nonlinearity("conv1")
        else:
            self._nonlinearity("conv1")
            self._normalized_and_pooled("conv1", norm_after_pool)

        if removed_conv != 2:
            self._convolution("conv2", 5)
            self._nonlinearity("conv2")
            self._normalized_and_pooled("conv2", norm_after_pool, within_map_norm_in_conv2)
        else:
            self._pooling("conv2")

        if removed_conv != 3:
            self._convolution("conv3", 3, reads_both_columns=True)
            self._nonlinearity("conv3")
        if removed_conv != 4:
            self._convolution("conv4", 3, reads_both_columns=removed_conv == 3)
            self._nonlinearity("conv4")
        if removed_conv != 5:
            self._convolution("conv5", 3)
            self._nonlinearity("conv5")
        self._pooling("conv5")
        if sixth_conv:
            self._convolution("conv6", 3, reads_both_columns=True)
            self._nonlinearity("conv6")

        self.flatten = nn.Flatten(start_dim=-3)
        fc6, fc7 = (_scaled(NEURONS[layer], width) for layer in ("fc6", "fc7"))
        self.fc6 = nn.Linear(self._maps * 6 * 6, fc6)
        self._nonlinearity("fc6")
        self.fc6_dropout = Dropout(dropout)
        self.fc7 = nn.Linear(fc6, fc7)
        self._nonlinearity("fc7")
        self.fc7_dropout = Dropout(dropout)
        self.fc8 = nn.Linear(fc7, num_classes)
        self.reset_parameters(weight_std, bias)

    def __getitem__(self, index: slice | int) -> nn.Module:  # type: ignore[override]
        """A layer by number; or, for a slice, those layers as an ``nn.Sequential``."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)

    @torch.no_grad()
    def reset_parameters(
        self,
        weight_std: Mapping[str, float] | Literal["he"] = WEIGHT_STD,
        bias: Mapping[str, float] = BIASES,
    ) -> None:
        """Draw the weights anew from N(0, weight_std²) and set the biases (§6)."""
        for layer, module in self.named_children():
            if isinstance(module, nn.Conv2d | nn.Linear):
                if isinstance(weight_std, Mapping):
                    module.weight.normal_(0, weight_std.get(layer, WEIGHT_STD[layer]))
                else:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    module.weight.div_(PIXEL_SCALE if layer == "conv1" else 1)
                assert module.bias is not None
                module.bias.fill_(bias.get(layer, BIASES[layer]))

    def _convolution(
        self,
        layer: str,
        size: int,
        stride: int = 1,
        padding: int | None = None,
        reads_both_columns: bool = False,
    ) -> None:
        counts = KERNELS if self.columns == 2 else KERNELS | ONE_GPU_KERNELS
        kernels = _scaled(counts[layer], self.width)
        padding = size // 2 if padding is None else padding
        groups = 1 if reads_both_columns else self.columns
        self.add_module(layer, nn.Conv2d(self._maps, kernels, size, stride, padding, groups=groups))
        if self._batch_norm:
            self.add_module(f"{layer}_batch_norm", nn.BatchNorm2d(kernels))
        self._maps = kernels

    def _nonlinearity(self, layer: str) -> None:
        module = nn.ReLU(inplace=True) if self._activation == "relu" else nn.Tanh()
        self.add_module(f"{layer}_{self._activation}", module)

    def _normalization(self, layer: str) -> None:
        if self._response_norm is not None:
            options: dict[str, Any] = {"columns": self.columns, "dim": -3, **self._response_norm}
            norm = ResponseNorm(self._maps, **options)
            self.add_module(f"{layer}_norm", norm)

    def _normalized_and_pooled(
        self, layer: str, norm_after_pool: bool, within_map_norm: bool = False
    ) -> None:
        if norm_after_pool:
            self._pooling(layer)
        self._normalization(layer)
        if within_map_norm:
            self.add_module(f"{layer}_within_map_norm", WithinMapNorm())
        if not norm_after_pool:
            self._pooling(layer)

    def _pooling(self, layer: str) -> None:
        size = 3 if self._pool == "overlapping" else 2
        self.add_module(f"{layer}_pool", MaxPool(size, stride=2))


def _scaled(count: int, width: float) -> int:
    """A kernel or neuron count times width, rounded to an even number so that columns are equal."""
    return max(2, 2 * round(count * width / 2))
