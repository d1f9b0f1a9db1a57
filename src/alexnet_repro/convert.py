"""Convert networks of other programs: ``alexnet convert caffe SOURCE OUTPUT``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from alexnet_repro import cli

Source = Annotated[
    Path, typer.Argument(exists=True, help="A .caffemodel file, or torchvision's .pth.")
]
Output = Annotated[Path, typer.Argument(dir_okay=False, help="Checkpoint to write.")]
Classes = Annotated[
    Path | None,
    typer.Option(
        exists=True, help="A file of lines NAME WORDS in label order, or a prepared store."
    ),
]

commands = cli.app()


@commands.callback()
def convert() -> None:
    """Convert a network trained by another program into a checkpoint."""


@commands.command(
    epilog=cli.example(
        "alexnet convert caffe bvlc_alexnet.caffemodel net.ckpt --classes synset_words.txt"
    )
)
def caffe(
    source: Source,
    output: Output,
    classes: Classes = None,
    mean: Annotated[
        Path | None,
        typer.Option(exists=True, help="imagenet_mean.binaryproto; default: a single colour."),
    ] = None,
    crop_size: Annotated[
        Literal[227, 224], typer.Option(help="224 is what the paper's network reads; not exact.")
    ] = 227,
) -> None:
    """Caffe's bvlc_alexnet or CaffeNet; the file says which."""
    from alexnet_repro.interop.conversion import CAFFE, convert

    config = cli.composed_node("model=bvlc_alexnet", "recipe=caffe")
    convert(CAFFE, config, source, output, classes, mean, crop_size)


@commands.command(epilog=cli.example("alexnet convert torchvision alexnet.pth net.ckpt"))
def torchvision(source: Source, output: Output, classes: Classes = None) -> None:
    """Torchvision's alexnet: one column, other widths, no response normalization."""
    from alexnet_repro.interop.conversion import TORCHVISION, convert

    config = cli.composed_node("model=torchvision_alexnet", "recipe=paper")
    convert(TORCHVISION, config, source, output, classes, None, TORCHVISION.crop_size)


if __name__ == "__main__":
    cli.run(commands)
