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

from alexnet_repro.base.errors import UsageError
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
    last = next((layer for layer in layers if layer.startswith("fc8")), None)
    if last is None:
        raise UsageError(f"{path}: has no layer fc8; {ONLY_THESE}")
    _check_settings(path, layers)
    weights, classes = _weights(path, layers, last)
    own = {
        **options,
        "width": len(weights["conv1.weight"]) / KERNELS["conv1"],
        "num_classes": classes,
        "dropout": _dropout(path, layers),
        "response_norm": {**options["response_norm"], **_response_norm(path, layers)},
    }
    if _pools_first(path, layers):
        own["norm_after_pool"] = True
    _check_shapes(path, own, weights)
    for layer in ("fc7", "fc8"):
        weights[f"{layer}.weight"] /= 1 - own["dropout"]
    return name, own, weights


ONLY_THESE = "only bvlc_alexnet and CaffeNet, of any width, can be converted"


def _layer(path: Path, layers: Mapping[str, CaffeLayer], name: str) -> CaffeLayer:
    if name not in layers:
        raise UsageError(f"{path}: has no layer {name}; {ONLY_THESE}")
    return layers[name]


def _check_settings(path: Path, layers: Mapping[str, CaffeLayer]) -> None:
    for name, wanted in (CONVOLUTIONS | POOLINGS).items():
        found = _layer(path, layers, name).settings
        for key, value in wanted.items():
            said = found.get(key, WRITTEN_OUT.get(key))
            said = WRITTEN_OUT[key] if said == () else said
            if said != value:
                raise UsageError(f"{path}: {name} has {key} {said}, not {value}; {ONLY_THESE}")


def _weights(
    path: Path, layers: Mapping[str, CaffeLayer], last: str
) -> tuple[dict[str, Tensor], int]:
    """By the names of :class:`AlexNet`, conv1 for red, green and blue; and the classes."""
    weights = {}
    for name in (*CONVOLUTIONS, "fc6", "fc7", last):
        blobs = _layer(path, layers, name).blobs
        if len(blobs) != 2:
            raise UsageError(f"{path}: {name} has no weights and biases: it was never trained")
        own = "fc8" if name == last else name
        weight, bias = blobs
        # Before 2015 all shapes were of four numbers, with ones in front.
        weight = weight if name.startswith("conv") else weight.reshape(weight.shape[-2:])
        weights[f"{own}.weight"] = torch.from_numpy(np.array(weight))
        weights[f"{own}.bias"] = torch.from_numpy(np.array(bias.reshape(-1)))
    weights["conv1.weight"] = weights["conv1.weight"].flip(1)
    return weights, len(weights["fc8.bias"])


def _dropout(path: Path, layers: Mapping[str, CaffeLayer]) -> float:
    ratios = {
        float(layer.settings["dropout_ratio"])
        for layer in layers.values()
        if "dropout_ratio" in layer.settings
    }
    if len(ratios) > 1:
        raise UsageError(f"{path}: has different dropout ratios, {sorted(ratios)}; {ONLY_THESE}")
    return ratios.pop() if ratios else 0.0


def _response_norm(path: Path, layers: Mapping[str, CaffeLayer]) -> dict[str, Any]:
    first, second = (_layer(path, layers, name).settings for name in NORMS)
    if first != second or first.get("norm_region", 0):
        raise UsageError(f"{path}: norm1 and norm2 differ, or normalize within maps; {ONLY_THESE}")
    if "local_size" not in first:
        raise UsageError(f"{path}: norm1 is not a response normalization; {ONLY_THESE}")
    constants = {key: first[key] for key in ("alpha", "beta", "k")}
    return {"n": first["local_size"], **constants, "divide_alpha_by_n": True, "columns": 1}


def _pools_first(path: Path, layers: Mapping[str, CaffeLayer]) -> bool:
    """Whether norm1 and norm2 read what pool1 and pool2 write."""
    first = {layers[f"norm{i}"].reads == _layer(path, layers, f"pool{i}").writes for i in (1, 2)}
    if len(first) > 1:
        raise UsageError(f"{path}: pools before normalizing in one layer only; {ONLY_THESE}")
    return first.pop()


def _check_shapes(path: Path, options: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    with torch.device("meta"):
        # Norms have no weights, and their windows take time to write down.
        own = AlexNet(**{k: v for k, v in options.items() if k[0] != "_"} | {"response_norm": None})
    for name, parameter in own.state_dict().items():
        if weights[name].shape != parameter.shape:
            found, wanted = (tuple(shape) for shape in (weights[name].shape, parameter.shape))
            raise UsageError(f"{path}: {name} has the shape {found}, not {wanted}; {ONLY_THESE}")
