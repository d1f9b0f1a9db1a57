"""Networks for other programs: ``alexnet export onnx FILE --checkpoint RUN``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from alexnet_repro import cli
from alexnet_repro.base.errors import UsageError

File = Annotated[Path, typer.Argument(help="To write.")]

commands = cli.app()


@commands.callback()
def export() -> None:
    """Write a trained network for other programs.

    It takes pixels 0-255: the mean is subtracted inside.
    """


@commands.command(epilog=cli.example("alexnet export onnx net.onnx --checkpoint runs/demo"))
def onnx(
    output: File,
    checkpoint: cli.Checkpoint,
    opset: Annotated[int, typer.Option(min=18, max=23, help="Of ONNX's operators.")] = 20,
    model: cli.Model = [],  # noqa: B006 - Typer copies it
    trust: cli.Trust = None,
) -> None:
    """One file, for any number of images at once."""
    from alexnet_repro.interop import export

    export.write_onnx(export.network(checkpoint, cli.node(model), trust, "onnx"), output, opset)


@commands.command(
    epilog=cli.example("alexnet export quantized net.onnx data=miniature --checkpoint runs/demo")
)
def quantized(
    output: File,
    data: cli.Data,
    checkpoint: cli.Checkpoint,
    split: Annotated[
        Literal["val", "test"] | None,
        typer.Option(help="Of the data; else test, if they have test images."),
    ] = None,
    opset: Annotated[int, typer.Option(min=18, max=23, help="Of ONNX's operators.")] = 20,
    model: cli.Model = [],  # noqa: B006
    trust: cli.Trust = None,
) -> None:
    """An ONNX file with its fully connected layers in 8 bits; its error is measured on data."""
    node = cli.data_node(data)
    from alexnet_repro.interop import export

    trained = export.network(checkpoint, cli.node(model), trust, "onnx")
    export.write_quantized(trained, output, opset, node, split)


@commands.command(epilog=cli.example("alexnet export torch-export net.pt2 --checkpoint runs/demo"))
def torch_export(
    output: File,
    checkpoint: cli.Checkpoint,
    model: cli.Model = [],  # noqa: B006
    trust: cli.Trust = None,
) -> None:
    """A file NAME.pt2 for torch.export.load."""
    if output.suffix != ".pt2":
        raise UsageError(f"{output}: torch.export.load wants a name with .pt2")
    from alexnet_repro.interop import export

    export.write_torch_export(export.network(checkpoint, cli.node(model), trust), output)


@commands.command(epilog=cli.example("alexnet export safetensors folder --checkpoint runs/demo"))
def safetensors(
    output: Annotated[Path, typer.Argument(help="Folder to write.")],
    checkpoint: cli.Checkpoint,
    record: Annotated[
        Path | None,
        typer.Option(exists=True, help="Of evaluate, for the card; else result.json of the run."),
    ] = None,
    model: cli.Model = [],  # noqa: B006
    trust: cli.Trust = None,
) -> None:
    """A folder with a model card, for from_pretrained."""
    from alexnet_repro.interop import export

    trained = export.network(checkpoint, cli.node(model), trust, "safetensors")
    export.write_safetensors(trained, output, record)


if __name__ == "__main__":
    cli.run(commands)
