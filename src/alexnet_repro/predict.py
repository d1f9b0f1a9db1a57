"""What a network takes images for: ``alexnet predict PHOTO --checkpoint RUN``."""

import json
from typing import Annotated, Literal

import typer

from alexnet_repro import cli

commands = cli.app()


@commands.command(
    epilog=cli.example(
        "alexnet predict photo.jpg 'holiday/*.png' --checkpoint imagenette",
        "alexnet predict photo.jpg --checkpoint net.ckpt --crops ten --json",
    )
)
def predict(
    images: Annotated[list[str], typer.Argument(help="Files, folders or patterns.")],
    checkpoint: cli.Checkpoint,
    crops: Annotated[
        Literal["centre", "ten"], typer.Option(help="ten: average over ten views (§5.1).")
    ] = "centre",
    top: Annotated[int, typer.Option(min=1, help="Classes to print per image.")] = 5,
    words: cli.Words = None,
    as_json: cli.AsJson = False,
    model: cli.Model = [],  # noqa: B006 - Typer copies it
    trust: cli.Trust = None,
    batch_size: cli.BatchSize = 32,
    device: cli.Device = "auto",
) -> None:
    """Print the most probable classes of photographs."""
    from alexnet_repro.analysis import predictions
    from alexnet_repro.analysis.images import Damaged, end_with_damaged, find_images
    from alexnet_repro.base.console import console

    paths = [path for given in images for path in find_images(given)]
    trained = predictions.trained_network(checkpoint, device, words, cli.node(model), trust)
    done = list(predictions.predict(trained, paths, crops, top, batch_size))
    if as_json:
        print(json.dumps(predictions.prediction_record(trained, done), indent=1))
    else:
        seen = [one for one in done if isinstance(one, predictions.Prediction)]
        console.print(predictions.prediction_table(trained, seen))
    end_with_damaged([one for one in done if isinstance(one, Damaged)], len(paths))


if __name__ == "__main__":
    cli.run(commands)
