"""A page to try a network: ``alexnet serve --checkpoint RUN``."""

from pathlib import Path
from typing import Annotated

import typer

from alexnet_repro import cli
from alexnet_repro.base.errors import UsageError

commands = cli.app()


@commands.command(
    epilog=cli.example(
        "alexnet serve --checkpoint runs/demo",
        "alexnet serve --checkpoint runs/demo --index index data=miniature",
    )
)
def serve(
    checkpoint: cli.Checkpoint,
    data: Annotated[
        list[str],
        typer.Argument(metavar="[data=NAME]...", help="The images of the index, to show them."),
    ] = [],  # noqa: B006 - Typer copies it
    index: Annotated[
        Path | None, typer.Option(help="Of retrieve build: shows the nearest training images.")
    ] = None,
    neighbours: Annotated[int, typer.Option(min=1, help="Images of the index.")] = 6,
    top: Annotated[int, typer.Option(min=1, help="Classes.")] = 5,
    host: Annotated[
        str, typer.Option(help="0.0.0.0: also for other machines, without a password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the page.")] = 7860,
    max_megabytes: Annotated[float, typer.Option(help="Of an upload, 2^20 bytes each.")] = 20,
    max_megapixels: Annotated[
        float, typer.Option(max=89, help="Of its image; Pillow refuses 89.5.")
    ] = 50,
    words: cli.Words = None,
    device: cli.Device = "auto",
) -> None:
    """Show a page to try a network."""
    for name, value in (("megabytes", max_megabytes), ("megapixels", max_megapixels)):
        if value <= 0:
            raise UsageError(f"--max-{name} {value:g}: more than 0")
    if data and index is None:
        raise UsageError(f"{data[0]}: shows the images of an index; add --index, or leave it out")
    node = cli.data_node(data) if data else None
    from alexnet_repro.analysis.predictions import trained_network
    from alexnet_repro.page import server
    from alexnet_repro.page.shown import Limits, network_of

    server.check_installed()
    trained = trained_network(checkpoint, device, words)
    shown = network_of(trained, index, node)
    server.serve(shown, Limits(neighbours, top, max_megabytes, max_megapixels), host, port)


if __name__ == "__main__":
    cli.run(commands)
