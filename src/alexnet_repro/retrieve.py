"""Find similar images (§7.1): ``alexnet retrieve build|query|evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from alexnet_repro import cli
from alexnet_repro.base.errors import UsageError

Index = Annotated[Path, typer.Option(help="Folder of the index.")]

NEAREST, BITS, SEEDS = [1, 10, 100], [32, 64, 128, 256], [0, 1, 2]

commands = cli.app()


@commands.callback()
def retrieve() -> None:
    """Find similar images by their fc7 activations (§7.1)."""


@commands.command(
    epilog=cli.example("alexnet retrieve build data=miniature --checkpoint runs/demo --index index")
)
def build(
    data: cli.Data,
    checkpoint: cli.Checkpoint,
    index: Index,
    words: cli.Words = None,
    batch_size: cli.BatchSize = 64,
    device: cli.Device = "auto",
) -> None:
    """Index the training images of a data set."""
    node = cli.data_node(data)
    from alexnet_repro.analysis import retrieval
    from alexnet_repro.analysis.predictions import trained_network

    retrieval.build(trained_network(checkpoint, device, words), node, index, batch_size)


@commands.command(epilog=cli.example("alexnet retrieve query photo.jpg --index index"))
def query(
    images: Annotated[list[str], typer.Argument(help="Files, folders or patterns.")],
    index: Index,
    neighbours: Annotated[int, typer.Option(min=1, help="Neighbours per image.")] = 6,
    checkpoint: cli.MaybeCheckpoint = None,
    words: cli.Words = None,
    as_json: cli.AsJson = False,
    device: cli.Device = "auto",
) -> None:
    """Print the nearest training images of each image.

    The checkpoint defaults to the one that the index was built with.
    """
    from alexnet_repro.analysis import retrieval

    retrieval.query(images, index, checkpoint, neighbours, device, words, as_json)


@commands.command(
    epilog=cli.example(
        "alexnet retrieve evaluate data=miniature --checkpoint runs/demo",
        "alexnet retrieve evaluate data=miniature --checkpoint runs/demo --bits 64 --bits 128",
    )
)
def evaluate(
    data: cli.Data,
    checkpoint: cli.Checkpoint,
    k: Annotated[list[int], typer.Option(min=1, help="Precision at k; repeatable.")] = NEAREST,
    bits: Annotated[
        list[int], typer.Option(min=8, max=4096, help="Code lengths; repeatable.")
    ] = BITS,
    seeds: Annotated[
        list[int], typer.Option(min=0, help="One autoencoder per seed; repeatable.")
    ] = SEEDS,
    seed: cli.Seed = 0,
    timed_queries: Annotated[int, typer.Option(min=1, help="Queries timed per method.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Timing rounds; the median is kept.")] = 7,
    hidden: Annotated[int, typer.Option(min=1, help="Hidden units of the autoencoder.")] = 256,
    noise: Annotated[
        float, typer.Option(min=0, help="Standard deviation of the noise added to its codes.")
    ] = 1.0,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate of the autoencoder.")] = 1e-3,
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs of the autoencoder.")] = 10,
    autoencoder_batch_size: Annotated[
        int, typer.Option(min=2, help="Vectors per training batch.")
    ] = 128,
    words: cli.Words = None,
    batch_size: cli.BatchSize = 64,
    device: cli.Device = "auto",
    output: cli.Output = Path("runs/retrieval"),
    formats: cli.Formats = cli.PICTURES,
    dpi: cli.Dpi = 200,
) -> None:
    """Measure how well features, pixels and binary codes find images of the same class."""
    if odd := [each for each in bits if each % 8]:
        raise UsageError(f"--bits {odd[0]}: a multiple of 8")
    node = cli.data_node(data)
    from alexnet_repro.analysis import retrieval
    from alexnet_repro.analysis.codes import Autoencoder
    from alexnet_repro.analysis.comparison import Settings
    from alexnet_repro.analysis.predictions import trained_network
    from alexnet_repro.figures import drawing

    autoencoder = Autoencoder(hidden, noise, lr, epochs, autoencoder_batch_size)
    settings = Settings(k, bits, seeds, seed, timed_queries, rounds, autoencoder)
    trained = trained_network(checkpoint, device, words)
    record = retrieval.evaluate(trained, node, settings, batch_size, output)
    drawing.draw(drawing.retrieval(record), output, formats, dpi)


if __name__ == "__main__":
    cli.run(commands)
