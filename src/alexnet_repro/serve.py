"""A page to try a network in the browser: ``alexnet serve --checkpoint RUN``."""

from pathlib import Path
from typing import Annotated

import typer

from alexnet_repro import cli
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.extras import require

commands = cli.app()


@commands.command(
    epilog=cli.example(
        "alexnet serve --checkpoint imagenette",
        "alexnet serve --checkpoint runs/demo --index index data=miniature",
    )
)
def serve(
    checkpoint: cli.Checkpoint,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="[data=NAME]...", help="The data set of the index, to show its images."
        ),
    ] = [],  # noqa: B006 - Typer copies it
    index: Annotated[
        Path | None,
        typer.Option(help="Index from retrieve build, to show the nearest training images."),
    ] = None,
    neighbours: Annotated[int, typer.Option(min=1, help="Nearest images to show.")] = 6,
    top: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 5,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 opens the page to other machines, without a password.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str],
        typer.Option(help="Another host name of the page, such as a proxy's; repeatable."),
    ] = [],  # noqa: B006
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 7860,
    max_megabytes: Annotated[
        float, typer.Option(min=0.01, max=1000, help="Largest upload, in MiB.")
    ] = 20,
    max_megapixels: Annotated[float, typer.Option(min=0.01, max=89, help="Largest image.")] = 50,
    words: cli.Words = None,
    device: cli.Device = "auto",
) -> None:
    """Serve a page to try a network in the browser."""
    if data and index is None:
        raise UsageError(
            f"{data[0]}: its images are those of an index; add --index, or leave it out"
        )
    node = cli.data_node(data) if data else None
    from alexnet_repro.analysis.predictions import trained_network
    from alexnet_repro.page import server
    from alexnet_repro.page.shown import Limits, network_of

    require("serve", "serve")
    trained = trained_network(checkpoint, device, words)
    shown = network_of(trained, index, node)
    limits = Limits(neighbours, top, max_megabytes, max_megapixels)
    server.serve(shown, limits, host, port, name)


if __name__ == "__main__":
    cli.run(commands)
