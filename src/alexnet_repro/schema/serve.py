"""The schema of ``python -m alexnet_repro.serve``."""

from typing import Annotated

from pydantic import Field, model_validator

from alexnet_repro.schema.base import Count, Node, Positive
from alexnet_repro.schema.predict import NetworkSchema


class ServeSchema(NetworkSchema):
    """Every key of ``conf/serve.yaml``."""

    checkpoint: str
    index: str | None
    data: Node | None
    neighbours: Count
    top: Count
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)]
    max_megabytes: Positive
    # Pillow itself refuses images from 89.5 megapixels on.
    max_megapixels: Annotated[float, Field(gt=0, le=89)]

    @model_validator(mode="after")
    def pictures_need_an_index(self) -> "ServeSchema":
        if self.data is not None and self.index is None:
            raise ValueError("data: shows the images of an index; add index=…, or leave data out")
        return self
