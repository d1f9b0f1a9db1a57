"""The schema of ``python -m alexnet_repro.convert``."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from alexnet_repro.schema.base import Node, Schema

COMPARED = "alexnet_repro.TorchvisionAlexNet"


class OriginSchema(Schema):
    name: Literal["caffe", "torchvision"]
    dataset: str
    mean_colour: Annotated[list[float], Field(min_length=3, max_length=3)]
    image_size: Annotated[int, Field(ge=8)]
    crop_size: Literal[224, 227]
    exact_crop_size: Literal[224, 227]


class ConvertSchema(Schema):
    """Every key of ``conf/convert.yaml``."""

    origin: OriginSchema = Field(alias="from")
    source: str
    output: str
    classes: str | None
    mean: str | None
    model: Node
    augment: Node
    optimizer: Node

    @model_validator(mode="before")
    @classmethod
    def network_is_the_one_of_its_origin(cls, values: Any) -> Any:
        # Before the network's own keys, which the other network's recipe lacks.
        origin, compared = values["from"]["name"], values["model"]["_target_"] == COMPARED
        if origin == "torchvision" and not compared:
            raise ValueError(
                "from=torchvision: its alexnet is another network (one column, other widths, no "
                "response normalization); add model=torchvision_alexnet to compare with it"
            )
        if origin == "caffe" and compared:
            raise ValueError("from=caffe: leave out model=, the file says which network it is")
        return values

    @model_validator(mode="after")
    def mean_is_of_caffe(self) -> "ConvertSchema":
        if self.mean is not None and self.origin.name != "caffe":
            raise ValueError(f"mean={self.mean}: a file of Caffe's; leave it out")
        return self
