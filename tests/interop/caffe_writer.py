"""Trained Caffe networks as Caffe writes them: bytes of the wire format, and the text beside them.

Written from the documentation of protocol buffers and the field numbers of ``caffe.proto``, with
nothing of the package.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

V1_KINDS = {
    "Convolution": 4,
    "Dropout": 6,
    "InnerProduct": 14,
    "LRN": 15,
    "Pooling": 17,
    "ReLU": 18,
    "Softmax": 20,
}
PARTS = {
    "Convolution": ("convolution_param", 106, 10),
    "Dropout": ("dropout_param", 108, 12),
    "InnerProduct": ("inner_product_param", 117, 17),
    "LRN": ("lrn_param", 118, 18),
    "Pooling": ("pooling_param", 121, 19),
}
"""The settings of each kind of layer: name, field today, field in V1."""

NUMBERS = {
    "Convolution": {"num_output": 1, "pad": 3, "kernel_size": 4, "group": 5, "stride": 6},
    "Dropout": {"dropout_ratio": 1},
    "InnerProduct": {"num_output": 1},
    "LRN": {"local_size": 1, "alpha": 2, "beta": 3, "norm_region": 4, "k": 5},
    "Pooling": {"pool": 1, "kernel_size": 2, "stride": 3, "pad": 4},
}


@dataclass
class Layer:
    name: str
    kind: str
    bottom: str
    top: str
    settings: dict[str, Any] = field(default_factory=dict)
    blobs: list[Floats] = field(default_factory=list)


def alexnet(
    rng: np.random.Generator,
    pool_first: bool,
    width: float = 0.25,
    classes: int = 10,
    norm: dict[str, Any] | None = None,
) -> list[Layer]:
    """bvlc_alexnet, or CaffeNet if it pools first, with weights under which all of it matters."""
    counts = [round(width * n) for n in (96, 256, 384, 384, 256)]
    fc = round(width * 4096)
    reads = [3, counts[0] // 2, counts[1], counts[2] // 2, counts[3] // 2]
    sizes, pads, groups = (11, 5, 3, 3, 3), (0, 2, 1, 1, 1), (1, 2, 1, 2, 2)
    norm = {"local_size": 5, "alpha": 1e-4, "beta": 0.75} if norm is None else norm
    layers: list[Layer] = []
    blob = "data"

    def add(name: str, kind: str, in_place: bool = False, **rest: Any) -> None:
        nonlocal blob
        layers.append(Layer(name, kind, blob, blob if in_place else name, **rest))
        blob = layers[-1].top

    def trained(*shape: int) -> list[Floats]:
        gain = (2 / np.prod(shape[1:])) ** 0.5
        weights = rng.normal(0, gain, shape).astype(np.float32)
        return [weights, rng.normal(0, 0.5, shape[0]).astype(np.float32)]

    for i in range(5):
        settings = {"num_output": counts[i], "kernel_size": sizes[i]}
        settings |= {"stride": 4} if i == 0 else {}
        settings |= {"pad": pads[i]} if pads[i] else {}
        settings |= {"group": groups[i]} if groups[i] > 1 else {}
        blobs = trained(counts[i], reads[i], sizes[i], sizes[i])
        add(f"conv{i + 1}", "Convolution", settings=settings, blobs=blobs)
        add(f"relu{i + 1}", "ReLU", in_place=True)
        after = ["Pooling", "LRN"] if pool_first else ["LRN", "Pooling"]
        for kind in after if i < 2 else ["Pooling"] * (i == 4):
            if kind == "LRN":
                add(f"norm{i + 1}", kind, settings=dict(norm))
            else:
                pooling = {"pool": 0, "kernel_size": 3, "stride": 2}
                add(f"pool{i + 1}", kind, settings=pooling)
    for name, inputs, outputs in (
        ("fc6", 36 * counts[4], fc),
        ("fc7", fc, fc),
        ("fc8", fc, classes),
    ):
        add(name, "InnerProduct", settings={"num_output": outputs}, blobs=trained(outputs, inputs))
        if name != "fc8":
            number = name[-1]
            add(f"relu{number}", "ReLU", in_place=True)
            add(f"drop{number}", "Dropout", in_place=True, settings={"dropout_ratio": 0.5})
    return layers


def prototxt(layers: Sequence[Layer], size: int = 227) -> str:
    """The network as text, for a program that reads it beside the weights."""
    lines = ['name: "generated"', 'input: "data"']
    lines += [f"input_dim: {n}" for n in (1, 3, size, size)]
    for layer in layers:
        lines.append("layer {")
        lines.append(f'  name: "{layer.name}" type: "{layer.kind}"')
        lines.append(f'  bottom: "{layer.bottom}" top: "{layer.top}"')
        if layer.settings:
            text = {"pool": lambda value: ("MAX", "AVE")[value]}
            body = " ".join(f"{k}: {text.get(k, str)(v)}" for k, v in layer.settings.items())
            lines.append(f"  {PARTS[layer.kind][0]} {{ {body} }}")
        lines.append("}")
    return "\n".join(lines) + "\n"


def caffemodel(layers: Sequence[Layer], v1: bool = False, name: str = "AlexNet") -> bytes:
    """The trained network: as Caffe writes it since 2015, or as before (``v1``)."""
    net = _bytes(1, name.encode())
    for layer in layers:
        net += _bytes(2, _layer_v1(layer)) if v1 else _bytes(100, _layer(layer))
    return net


def binaryproto(image: Floats) -> bytes:
    """A mean image (3, height, width), as ``compute_image_mean`` writes it."""
    return _blob(image[None], v1=True)


def _layer(layer: Layer) -> bytes:
    out = _bytes(1, layer.name.encode()) + _bytes(2, layer.kind.encode())
    out += _bytes(3, layer.bottom.encode()) + _bytes(4, layer.top.encode())
    for blob in layer.blobs:
        out += _bytes(7, _blob(blob, v1=False))
    if layer.settings:
        out += _bytes(PARTS[layer.kind][1], _settings(layer))
    return out


def _layer_v1(layer: Layer) -> bytes:
    out = _bytes(2, layer.bottom.encode()) + _bytes(3, layer.top.encode())
    out += _bytes(4, layer.name.encode()) + _varint(5, V1_KINDS[layer.kind])
    for blob in layer.blobs:
        out += _bytes(6, _blob(blob, v1=True))
    if layer.settings:
        out += _bytes(PARTS[layer.kind][2], _settings(layer))
    return out


def _settings(layer: Layer) -> bytes:
    out = b""
    for key, value in layer.settings.items():
        number = NUMBERS[layer.kind][key]
        out += _float(number, value) if isinstance(value, float) else _varint(number, value)
    return out


def _blob(values: Floats, v1: bool) -> bytes:
    data = _bytes(5, values.astype("<f4").tobytes())
    if not v1:
        return data + _bytes(7, _bytes(1, b"".join(_number(n) for n in values.shape)))
    four = (1,) * (4 - values.ndim) + values.shape
    return b"".join(_varint(i + 1, n) for i, n in enumerate(four)) + data


def _number(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _varint(number: int, value: int) -> bytes:
    return _number(number << 3) + _number(value)


def _float(number: int, value: float) -> bytes:
    return _number(number << 3 | 5) + struct.pack("<f", value)


def _bytes(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content
