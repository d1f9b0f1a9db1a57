"""The layers of a network in numbers, and what crosses between its columns (§3.5, §4.2, Fig. 2).

A layer reads the maps of its own column, or those of both. Only where it reads both must anything
cross, and then it is the output of the layer before: each column sends its half.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from rich.table import Table
from torch import nn

from alexnet_repro.base.build import build
from alexnet_repro.base.console import console
from alexnet_repro.network.alexnet import INPUT_SIZE, AlexNet
from alexnet_repro.network.cifar import CifarNet, LocallyConnected

LOSS = "loss"
"""What reads the last exchange: the softmax over all logits."""


@dataclass(frozen=True)
class Exchange:
    """One place where the columns exchange their halves, for one image.

    Attributes:
        output: the layer whose output crosses: ``conv2_pool``, ``fc6_dropout``, …
        reader: the layer that reads both halves: ``conv3``, … or ``loss``.
        shape: of one column's half: (maps, height, width) or (neurons,).
        gradient: whether the gradient crosses back. That of the logits need not: both columns
            compute the same loss, so each has all of it.
    """

    output: str
    reader: str
    shape: tuple[int, ...]
    gradient: bool

    @property
    def values(self) -> int:
        """Numbers that each column sends for one image, forward and backward together."""
        return prod(self.shape) * (2 if self.gradient else 1)


def reads(name: str, layer: nn.Module, columns: int) -> str:
    """What a convolution or fully connected layer reads.

    ``image``, ``own column`` or ``both columns``; of a one-column network ``all maps``.
    """
    if name == "conv1":
        return "image"
    if columns == 1:
        return "all maps"
    grouped = isinstance(layer, nn.Conv2d) and layer.groups == columns
    return "own column" if grouped else "both columns"


def stages(network: AlexNet) -> list[list[str]]:
    """The names of the layers between the exchanges: every stage but the first reads both columns.

    The network of the paper has conv1–2 | conv3–5 | fc6 | fc7 | fc8, with what follows each.
    """
    names: list[list[str]] = [[]]
    for name, layer in network.named_children():
        has_weights = isinstance(layer, nn.Conv2d | nn.Linear)
        if has_weights and reads(name, layer, network.columns) == "both columns":
            names.append([])
        names[-1].append(name)
    return names


def exchanges(network: AlexNet) -> list[Exchange]:
    """The table of exchanges of a two-column network, in order."""
    outputs: dict[str, tuple[int, ...]] = {}
    with torch.no_grad():
        x = torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE)
        for name, layer in network.named_children():
            x = layer(x)
            outputs[name] = tuple(x.shape[1:])
    between = stages(network)
    table = []
    for stage, following in zip(between, [*between[1:], [LOSS]], strict=True):
        whole, *positions = outputs[stage[-1]]
        # An odd number of classes: the first column has one more, the second sends one unused.
        half = (whole + whole % 2) // 2
        # Flattening moves no value between columns: say which maps cross, not their list.
        last = stage[-2] if stage[-1] == "flatten" else stage[-1]
        shape = (half, *positions)
        if last != stage[-1]:
            shape = (outputs[last][0] // 2, *outputs[last][1:])
        table.append(Exchange(last, following[0], shape, gradient=following[0] != LOSS))
    return table


def bytes_per_step(table: Iterable[Exchange], batch_size: int, bytes_per_value: int = 4) -> int:
    """What each column sends for one training step on ``batch_size`` images."""
    return batch_size * bytes_per_value * sum(exchange.values for exchange in table)


@dataclass(frozen=True)
class Layer:
    """One layer with parameters, for one image.

    Attributes:
        name: conv1, …, fc8.
        kernel: (kernels, maps that each reads, height, width), or (neurons, inputs).
        output: (maps, height, width) before pooling, or (neurons,).
        parameters: weights and biases, all columns together.
        multiply_adds: products of a weight and an input.
        reads: ``image``, ``own column`` or ``both columns``; of a one-column net ``all maps``.
    """

    name: str
    kernel: tuple[int, ...]
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    reads: str

    @property
    def neurons(self) -> int:
        """As counted in §4.5: the values of the layer's output, before pooling."""
        return prod(self.output)


def layers(network: AlexNet | CifarNet) -> list[Layer]:
    """The convolutions, locally and fully connected layers of ``network``, in order."""
    outputs: dict[str, tuple[int, ...]] = {}
    with torch.no_grad():
        x = torch.zeros(1, 3, network.input_size, network.input_size)
        for name, module in network.named_children():
            x = module(x)
            outputs[name] = tuple(x.shape[1:])
    described = []
    for name, module in network.named_children():
        if isinstance(module, nn.Conv2d | nn.Linear | LocallyConnected):
            kernel = _kernel(module)
            described.append(
                Layer(
                    name=name,
                    kernel=kernel,
                    output=outputs[name],
                    parameters=sum(p.numel() for p in module.parameters()),
                    multiply_adds=prod(kernel) * prod(outputs[name][1:]),
                    reads=reads(name, module, network.columns),
                )
            )
    return described


def _kernel(module: nn.Conv2d | nn.Linear | LocallyConnected) -> tuple[int, ...]:
    if isinstance(module, LocallyConnected):
        return module.kernels, module.maps, module.size, module.size
    return tuple(module.weight.shape)


def summary_table(network: AlexNet | CifarNet) -> Table:
    """The layers as a table of 80 columns, with totals."""
    rows = layers(network)
    parameters = sum(layer.parameters for layer in rows)
    two = network.columns == 2
    footers = {
        "layer": "total",
        "kernels": "",
        "reads": "",
        "output": "",
        "neurons": f"{sum(layer.neurons for layer in rows):,}",
        "parameters": f"{parameters:,}",
        "per column": f"{parameters // 2:,}" if two else "",
        "%": "100",
        "M madds": f"{sum(layer.multiply_adds for layer in rows) / 1e6:.1f}",
    }
    table = Table(show_footer=True, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for header, footer in footers.items():
        text = header in ("layer", "kernels", "reads", "output")
        table.add_column(header, footer, justify="left" if text else "right", no_wrap=True)
    for layer in rows:
        table.add_row(
            layer.name,
            "×".join(map(str, _kernel_text(layer))),
            layer.reads.split()[0],
            "×".join(map(str, layer.output)),
            f"{layer.neurons:,}",
            f"{layer.parameters:,}",
            f"{layer.parameters // 2:,}" if two else "",
            f"{100 * layer.parameters / parameters:.2f}",
            f"{layer.multiply_adds / 1e6:.1f}",
        )
    return table


def _kernel_text(layer: Layer) -> tuple[int, ...]:
    """As in §4.5: number × height × width × maps read."""
    count, *rest = layer.kernel
    return (count, *rest[1:], rest[0])


def print_summary(model: Mapping[str, Any]) -> None:
    """Print the table for the ``model`` part of a configuration (1000 classes if unset)."""
    network = build(model, "model")
    console.print(summary_table(network), soft_wrap=False)
    if network.columns == 2:
        console.print("reads: own = the maps of its own column, both = those of both columns")
    console.print("%: of all parameters; M madds: million multiply-adds for one image")
    if network.columns == 2:
        console.print(exchange_text(network))


def exchange_text(network: AlexNet, batch_size: int = 128) -> str:
    """What two devices exchange in a training step, beside what data parallelism would."""
    table = exchanges(network)
    sent, gradients = (
        f"{count / 1e6:.1f} MB"
        for count in (
            bytes_per_step(table, batch_size),
            4 * sum(p.numel() for p in network.parameters()),
        )
    )
    return (
        f"a step on {batch_size} images: each column sends {sent}\n"
        f"(outputs of {', '.join(e.output for e in table)});\n"
        f"data parallelism would exchange all gradients, {gradients}"
    )
