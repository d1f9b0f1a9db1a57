"""The figures of the paper: ``python -m alexnet_repro.figures figure=3 checkpoint=…``."""

from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.figures import FiguresSchema


@command("figures")
def main(config: DictConfig) -> None:
    values = validated(config, FiguresSchema)
    # matplotlib takes seconds to import: a mistake in the configuration is told before.
    from alexnet_repro.seeing.drawing import draw

    draw(values)


if __name__ == "__main__":
    main()
