"""What a network takes images for: ``alexnet predict PHOTO --checkpoint RUN``."""

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
    from alexnet_repro.analysis.images import Answered, Damaged, find_images, print_answers

    paths = [path for given in images for path in find_images(given)]
    trained = predictions.trained_network(checkpoint, device, words, cli.node(model), trust)
    answers = [
        one
        if isinstance(one, Damaged)
        else Answered(one.path, predictions.class_rows(trained, one))
        for one in predictions.predict(trained, paths, crops, top, batch_size)
    ]
    said = {"checkpoint": str(trained.path), "epoch": trained.epoch}
    print_answers(answers, "images", "classes", as_json, **said)


if __name__ == "__main__":
    cli.run(commands)
