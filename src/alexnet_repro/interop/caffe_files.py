"""Caffe's binary files: the layers of a ``.caffemodel`` and the image of a ``.binaryproto``.

Both are protocol buffers. Only the fields that a network of convolutions, pooling, response
normalization and fully connected layers needs are declared here, by their numbers; a parser leaves
out what is not declared. The values of a blob are declared as bytes: packed floats are the same on
the wire, and 60 million of them need not become Python numbers.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from alexnet_repro.base.errors import UsageError

Floats = npt.NDArray[np.float32]
Declared = dict[str, dict[str, tuple[int, str, str]]]

LAYER_PARTS: dict[str, tuple[str, int, int]] = {
    "convolution": ("Convolution", 106, 10),
    "dropout": ("Dropout", 108, 12),
    "lrn": ("ResponseNorm", 118, 18),
    "pooling": ("Pooling", 121, 19),
}
"""Of a layer: the message, and its field in today's files and in those of before 2015."""

MESSAGES: Declared = {
    "Shape": {"dim": (1, "int64", "repeated")},
    "Blob": {
        "num": (1, "int64", ""),
        "channels": (2, "int64", ""),
        "height": (3, "int64", ""),
        "width": (4, "int64", ""),
        "data": (5, "bytes", "repeated"),
        "shape": (7, "Shape", ""),
        "double_data": (8, "bytes", "repeated"),
    },
    "Convolution": {
        "pad": (3, "uint32", "repeated"),
        "group": (5, "uint32", "1"),
        "stride": (6, "uint32", "repeated"),
    },
    "Dropout": {"dropout_ratio": (1, "float", "0.5")},
    "ResponseNorm": {
        "local_size": (1, "uint32", "5"),
        "alpha": (2, "float", "1"),
        "beta": (3, "float", "0.75"),
        "norm_region": (4, "int32", "0"),
        "k": (5, "float", "1"),
    },
    "Pooling": {
        "pool": (1, "int32", "0"),
        "kernel_size": (2, "uint32", "0"),
        "stride": (3, "uint32", "1"),
        "pad": (4, "uint32", "0"),
    },
    "Layer": {
        "name": (1, "string", ""),
        "bottom": (3, "string", "repeated"),
        "top": (4, "string", "repeated"),
        "blobs": (7, "Blob", "repeated"),
        **{name: (today, message, "") for name, (message, today, _) in LAYER_PARTS.items()},
    },
    "LayerBefore2015": {
        "layer": (1, "bytes", ""),  # as they were before 2014
        "bottom": (2, "string", "repeated"),
        "top": (3, "string", "repeated"),
        "name": (4, "string", ""),
        "blobs": (6, "Blob", "repeated"),
        **{name: (before, message, "") for name, (message, _, before) in LAYER_PARTS.items()},
    },
    "Net": {
        "name": (1, "string", ""),
        "layers": (2, "LayerBefore2015", "repeated"),
        "layer": (100, "Layer", "repeated"),
    },
}
"""Fields by message: number, type, and ``repeated`` or the default."""


@dataclass(frozen=True)
class CaffeLayer:
    """One layer of a Caffe network.

    Attributes:
        reads, writes: the names of what it takes and makes.
        blobs: weights, then biases; of a layer without any, none.
        settings: fields of its kind: ``group``, ``stride``, ``local_size``, ….
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    blobs: tuple[Floats, ...]
    settings: dict[str, Any]


@functools.cache
def _messages() -> dict[str, Any]:
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe_files.proto", package="caffe_files")
    for message, fields in MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, (number, kind, rule) in fields.items():
            field = declared.field.add(name=name, number=number)
            field.label = types.LABEL_OPTIONAL
            if kind in MESSAGES:
                field.type, field.type_name = types.TYPE_MESSAGE, f".caffe_files.{kind}"
            else:
                field.type = getattr(types, f"TYPE_{kind.upper()}")
            if rule == "repeated":
                field.label = types.LABEL_REPEATED
            elif rule:
                field.default_value = rule
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe_files.{name}"))
        for name in MESSAGES
    }


def _read(path: Path, message: str, kind: str) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    if content.startswith(b"\x89HDF"):
        raise UsageError(f"{path}: is an HDF5 file; the {kind} has to be a protocol buffer")
    try:
        return _messages()[message].FromString(content)
    except DecodeError as error:
        raise UsageError(f"{path}: not a {kind}, or a damaged one ({error})") from error


def read_caffemodel(path: Path) -> tuple[str, dict[str, CaffeLayer]]:
    """The name of the network in a ``.caffemodel``, and its layers by name, in order.

    Raises:
        UsageError: if the file cannot be read or is of another kind.
    """
    net = _read(path, "Net", ".caffemodel")
    found = [*net.layer, *net.layers]
    if not found:
        raise UsageError(f"{path}: has no layers; is it a .caffemodel?")
    if any(layer.layer for layer in net.layers):
        raise UsageError(
            f"{path}: was written by a Caffe from before 2014; convert it with Caffe's "
            "upgrade_net_proto_binary"
        )
    layers = {
        layer.name: CaffeLayer(
            reads=tuple(layer.bottom),
            writes=tuple(layer.top),
            blobs=tuple(_values(blob, f"{path}: {layer.name}") for blob in layer.blobs),
            settings=_settings(layer),
        )
        for layer in found
    }
    return net.name, layers


def read_mean(path: Path) -> Floats:
    """The image of a ``.binaryproto``: (height, width, 3), RGB.

    Raises:
        UsageError: if the file cannot be read or holds something else.
    """
    blob = _read(path, "Blob", ".binaryproto")
    values = _values(blob, str(path))
    image = values.reshape(values.shape[-3:]) if values.ndim >= 3 else values
    if image.ndim != 3 or len(image) != 3 or values.size != image.size:
        raise UsageError(f"{path}: not the mean of colour images ({values.shape} values)")
    return image[::-1].transpose(1, 2, 0)


def _settings(layer: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for part in LAYER_PARTS:
        if layer.HasField(part):
            message = getattr(layer, part)
            settings |= {
                field.name: _plain(getattr(message, field.name))
                for field in message.DESCRIPTOR.fields
            }
    return settings


def _plain(value: Any) -> Any:
    """A number; of numbers for height and width the one that both are, or all."""
    if not isinstance(value, Iterable):
        return round(value, 7) if isinstance(value, float) else value
    numbers: Sequence[int] = list(value)
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)


def _values(blob: Any, of_what: str) -> Floats:
    kind, parts = ("<f8", blob.double_data) if blob.double_data else ("<f4", blob.data)
    joined = b"".join(parts)
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    if len(joined) != np.dtype(kind).itemsize * int(np.prod(shape)):
        raise UsageError(f"{of_what}: holds {len(joined)} bytes for {shape} values; it is damaged")
    return np.frombuffer(joined, kind).reshape(shape).astype(np.float32)
