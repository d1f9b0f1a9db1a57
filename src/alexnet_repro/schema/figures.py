"""The schema of ``python -m alexnet_repro.figures``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from alexnet_repro.schema.base import Count, Natural, Node
from alexnet_repro.schema.predict import TrainedSchema


class FiguresSchema(TrainedSchema):
    """Every key of ``conf/figures.yaml``."""

    data: Node | None
    figure: Literal[1, 2, 3, 4]
    output: str
    formats: Annotated[list[Literal["png", "svg", "pdf"]], Field(min_length=1)]
    dpi: Annotated[int, Field(ge=30, le=1200)]
    seed: Natural
    runs: list[str]
    threshold: Annotated[float, Field(gt=0, lt=100)]
    permutations: Count
    images: str | None
    shown: Annotated[int, Field(ge=1, le=100)]
    queries: Annotated[int, Field(ge=1, le=50)]
    neighbours: Annotated[int, Field(ge=1, le=20)]

    @model_validator(mode="after")
    def there_is_what_it_is_drawn_from(self) -> "FiguresSchema":
        if self.figure == 1 and not self.runs:
            raise ValueError("figure=1: add runs=[…], folders of runs with ReLU and with tanh")
        if self.figure in (3, 4) and self.checkpoint is None:
            raise ValueError(f"figure={self.figure}: add checkpoint=…, of a trained network")
        if self.figure == 4 and self.data is None:
            raise ValueError("figure=4: add data=…, the images that the network was trained on")
        return self
