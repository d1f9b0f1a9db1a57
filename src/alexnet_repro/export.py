"""Networks for other programs: ``alexnet export onnx FILE --checkpoint RUN``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from alexnet_repro import cli
from alexnet_repro.base.errors import UsageError

File = Annotated[Path, typer.Argument(dir_okay=False, help="File to write.")]

commands = cli.app()


@commands.callback()
def export() -> None:
    """Export a trained network for other programs.

    It takes RGB pixels 0-255; the mean is subtracted inside.
    """


@commands.command(epilog=cli.example("alexnet export onnx net.onnx --checkpoint runs/demo"))
def onnx(
    output: File,
    checkpoint: cli.Checkpoint,
    opset: Annotated[int, typer.Option(min=18, max=23, help="ONNX opset version.")] = 20,
    model: cli.Model = [],  # noqa: B006 - Typer copies it
    trust: cli.Trust = None,
) -> None:
    """An ONNX file, for batches of any size."""
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
        typer.Option(help="Default: test, or val if there are no test images."),
    ] = None,
    opset: Annotated[int, typer.Option(min=18, max=23, help="ONNX opset version.")] = 20,
    model: cli.Model = [],  # noqa: B006
    trust: cli.Trust = None,
) -> None:
    """An ONNX file with 8-bit fully connected layers, its error measured on data."""
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
    """A .pt2 file for torch.export.load."""
    if output.suffix != ".pt2":
        raise UsageError(f"{output}: torch.export.load needs a name ending in .pt2")
    from alexnet_repro.interop import export

    export.write_torch_export(export.network(checkpoint, cli.node(model), trust), output)


@commands.command(epilog=cli.example("alexnet export safetensors folder --checkpoint runs/demo"))
def safetensors(
    output: Annotated[Path, typer.Argument(file_okay=False, help="Folder to write.")],
    checkpoint: cli.Checkpoint,
    record: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Record of evaluate for the model card; default: result.json of the run.",
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="16-bit weights: half the size.")] = False,
    words: cli.Words = None,
    model: cli.Model = [],  # noqa: B006
    trust: cli.Trust = None,
) -> None:
    """A folder with a model card, for from_pretrained and as a checkpoint here."""
    from alexnet_repro.interop import export

    trained = export.network(checkpoint, cli.node(model), trust, "safetensors", words)
    export.write_safetensors(trained, output, record, half)


if __name__ == "__main__":
    cli.run(commands)
