"""The figures of the paper: ``alexnet figures 3 --checkpoint RUN``."""

from pathlib import Path
from typing import Annotated

import typer

from alexnet_repro import cli

FOLDER = Path("runs/figures")

commands = cli.app()


@commands.callback()
def figures() -> None:
    """Draw the figures of the paper."""


@commands.command("1", epilog=cli.example("alexnet figures 1 runs/relu_speed runs/relu_speed_tanh"))
def figure_1(
    runs: Annotated[
        list[Path],
        typer.Argument(exists=True, help="Folders of runs, or of sweeps, with ReLU and with tanh."),
    ],
    threshold: Annotated[float, typer.Option(help="Percent of training error.")] = 25,
    output: cli.Output = FOLDER,
    formats: cli.Formats = cli.PICTURES,
    dpi: cli.Dpi = 200,
) -> None:
    """How fast ReLU and tanh learn."""
    from alexnet_repro.figures import drawing

    drawing.draw(drawing.figure_1(runs, threshold), output, formats, dpi)


@commands.command("2", epilog=cli.example("alexnet figures 2 --format pdf"))
def figure_2(
    checkpoint: cli.MaybeCheckpoint = None,
    output: cli.Output = FOLDER,
    formats: cli.Formats = cli.PICTURES,
    dpi: cli.Dpi = 200,
) -> None:
    """The architecture: of a checkpoint's network, or of the paper's."""
    from alexnet_repro.figures import drawing

    drawing.draw(drawing.figure_2(checkpoint), output, formats, dpi)


@commands.command("3", epilog=cli.example("alexnet figures 3 --checkpoint runs/demo"))
def figure_3(
    checkpoint: cli.Checkpoint,
    permutations: Annotated[
        int,
        typer.Option(min=1, help="Random splits in the permutation test."),
    ] = 99999,
    seed: cli.Seed = 0,
    device: cli.Device = "auto",
    output: cli.Output = FOLDER,
    formats: cli.Formats = cli.PICTURES,
    dpi: cli.Dpi = 200,
) -> None:
    """The kernels of conv1, and how the columns differ."""
    from alexnet_repro.analysis.predictions import trained_network
    from alexnet_repro.figures import drawing

    trained = trained_network(checkpoint, device)
    drawing.draw(drawing.figure_3(trained, permutations, seed, output), output, formats, dpi)


@commands.command(
    "4", epilog=cli.example("alexnet figures 4 data=miniature --checkpoint runs/demo")
)
def figure_4(
    data: cli.Data,
    checkpoint: cli.Checkpoint,
    images: Annotated[
        str | None,
        typer.Option(help="A file, folder or pattern, a folder for each class; else test images."),
    ] = None,
    shown: Annotated[int, typer.Option(min=1, max=100, help="Images with their classes.")] = 8,
    queries: Annotated[int, typer.Option(min=1, max=50, help="Test images with neighbours.")] = 5,
    neighbours: Annotated[int, typer.Option(min=1, max=20, help="Of each query.")] = 6,
    seed: cli.Seed = 0,
    words: cli.Words = None,
    batch_size: cli.BatchSize = 64,
    device: cli.Device = "auto",
    output: cli.Output = FOLDER,
    formats: cli.Formats = cli.PICTURES,
    dpi: cli.Dpi = 200,
) -> None:
    """Images with their most probable classes; queries with their nearest training images."""
    node = cli.data_node(data)
    from alexnet_repro.analysis.predictions import trained_network
    from alexnet_repro.figures import drawing

    trained = trained_network(checkpoint, device, words)
    pictures = drawing.figure_4(trained, node, images, shown, queries, neighbours, seed, batch_size)
    drawing.draw(pictures, output, formats, dpi)


if __name__ == "__main__":
    cli.run(commands)
