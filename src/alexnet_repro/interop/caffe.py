"""Caffe's bvlc_alexnet and CaffeNet, trained there, as networks of this package.

What differs is either moved into the weights, without a change of what is computed, or is an
option of the network:

=====================  ============================  ===========================================
subject                Caffe                         here
=====================  ============================  ===========================================
colours                blue, green, red              conv1's weights in the order red, green, blue
dropout                ÷ (1 − p) in training         × (1 − p) at test: fc7 and fc8 ÷ (1 − p)
group: 2               conv2, conv4, conv5           the two columns, in the same order
fc6                    reads maps × rows × columns   the same order
image                  227×227, no padding           the same; 224×224 get 3 pixels of zeros
response norm          α ÷ n, k = 1, all maps        ``divide_alpha_by_n``, ``k``, ``columns: 1``
order, CaffeNet        pool, norm                    ``norm_after_pool``
=====================  ============================  ===========================================
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet_repro.base.errors import UsageError, one_line
from alexnet_repro.interop.caffe_files import CaffeLayer, read_caffemodel
from alexnet_repro.network.alexnet import KERNELS, AlexNet

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "conv1": {"stride": 4, "pad": 0, "group": 1},
    "conv2": {"stride": 1, "pad": 2, "group": 2},
    "conv3": {"stride": 1, "pad": 1, "group": 1},
    "conv4": {"stride": 1, "pad": 1, "group": 2},
    "conv5": {"stride": 1, "pad": 1, "group": 2},
}
POOLINGS = {f"pool{i}": {"pool": 0, "kernel_size": 3, "stride": 2, "pad": 0} for i in (1, 2, 5)}
NORMS = ("norm1", "norm2")
WRITTEN_OUT = {"stride": 1, "pad": 0}
"""What a file leaves out where it is so."""


def read_caffe(
    path: Path, options: Mapping[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """The name, the options of :class:`AlexNet` and the weights of a trained Caffe network.

    Args:
        options: of :class:`AlexNet`; those that the file says itself are replaced.

    Raises:
        UsageError: if the file cannot be read, or holds another network.
    """
    name, layers = read_caffemodel(path)
    try:
        return name, *_of_layers(layers, options)
    except ValueError as error:
        raise UsageError(
            f"{path}: {one_line(error)}; only bvlc_alexnet and CaffeNet, of any width, can be "
            "converted"
        ) from error


def _of_layers(
    layers: Mapping[str, CaffeLayer], options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Options and weights; a ValueError says why the layers are those of another network."""
    _check_settings(layers)
    weights = _weights(layers)
    own = {
        **options,
        "width": len(weights["conv1.weight"]) / KERNELS["conv1"],
        "num_classes": len(weights["fc8.bias"]),
        "dropout": _dropout(layers),
        "response_norm": {**options["response_norm"], **_response_norm(layers)},
    }
    if _pools_first(layers):
        own["norm_after_pool"] = True
    _check_shapes(own, weights)
    for layer in ("fc7", "fc8"):
        weights[f"{layer}.weight"] /= 1 - own["dropout"]
    return own, weights


def _layer(layers: Mapping[str, CaffeLayer], name: str) -> CaffeLayer:
    if name not in layers:
        raise ValueError(f"has no layer {name}")
    return layers[name]


def _check_settings(layers: Mapping[str, CaffeLayer]) -> None:
    for name, wanted in (CONVOLUTIONS | POOLINGS).items():
        found = _layer(layers, name).settings
        for key, value in wanted.items():
            said = found.get(key, WRITTEN_OUT.get(key))
            said = WRITTEN_OUT[key] if said == () else said
            if said != value:
                raise ValueError(f"{name} has {key} {said}, not {value}")


def _weights(layers: Mapping[str, CaffeLayer]) -> dict[str, Tensor]:
    """By the names of :class:`AlexNet`, conv1 for red, green and blue."""
    weights = {}
    # Who trains on other classes calls it fc8_flickr and the like.
    last = next((layer for layer in layers if layer.startswith("fc8")), "fc8")
    for name in (*CONVOLUTIONS, "fc6", "fc7", last):
        blobs = _layer(layers, name).blobs
        if len(blobs) != 2:
            raise ValueError(f"{name} has no weights and biases: it was never trained")
        own = "fc8" if name == last else name
        weight, bias = blobs
        # Before 2015 all shapes were of four numbers, with ones in front.
        weight = weight if name.startswith("conv") else weight.reshape(weight.shape[-2:])
        weights[f"{own}.weight"] = torch.from_numpy(np.array(weight))
        weights[f"{own}.bias"] = torch.from_numpy(np.array(bias.reshape(-1)))
    weights["conv1.weight"] = weights["conv1.weight"].flip(1)
    return weights


def _dropout(layers: Mapping[str, CaffeLayer]) -> float:
    ratios = {
        float(layer.settings["dropout_ratio"])
        for layer in layers.values()
        if "dropout_ratio" in layer.settings
    }
    if len(ratios) > 1:
        raise ValueError(f"has different dropout ratios, {sorted(ratios)}")
    return ratios.pop() if ratios else 0.0


def _response_norm(layers: Mapping[str, CaffeLayer]) -> dict[str, Any]:
    first, second = (_layer(layers, name).settings for name in NORMS)
    if first != second or first.get("norm_region", 0):
        raise ValueError("norm1 and norm2 differ, or normalize within maps")
    if "local_size" not in first:
        raise ValueError("norm1 is not a response normalization")
    constants = {key: first[key] for key in ("alpha", "beta", "k")}
    return {"n": first["local_size"], **constants, "divide_alpha_by_n": True, "columns": 1}


def _pools_first(layers: Mapping[str, CaffeLayer]) -> bool:
    """Whether norm1 and norm2 read what pool1 and pool2 write."""
    first = {layers[f"norm{i}"].reads == _layer(layers, f"pool{i}").writes for i in (1, 2)}
    if len(first) > 1:
        raise ValueError("pools before normalizing in one layer only")
    return first.pop()


def _check_shapes(options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    with torch.device("meta"):
        # Norms have no weights, and their windows take time to write down.
        own = AlexNet(**{k: v for k, v in options.items() if k[0] != "_"} | {"response_norm": None})
    for name, parameter in own.state_dict().items():
        if weights[name].shape != parameter.shape:
            found, wanted = (tuple(shape) for shape in (weights[name].shape, parameter.shape))
            raise ValueError(f"{name} has the shape {found}, not {wanted}")
