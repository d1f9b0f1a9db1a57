"""The schema of ``python -m alexnet_repro.retrieve``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from alexnet_repro.schema.base import Count, Natural, Node, NonNegative, Positive, Schema
from alexnet_repro.schema.predict import TrainedSchema

Bits = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]


class AutoencoderSchema(Schema):
    hidden: Count
    noise: NonNegative
    lr: Positive
    epochs: Count
    batch_size: Annotated[int, Field(ge=2)]


class EvaluateSchema(Schema):
    output: str
    k: Annotated[list[Count], Field(min_length=1)]
    bits: Annotated[list[Bits], Field(min_length=1)]
    seeds: Annotated[list[Natural], Field(min_length=1)]
    seed: Natural
    timed_queries: Count
    rounds: Count
    formats: Annotated[list[Literal["png", "svg", "pdf"]], Field(min_length=1)]
    dpi: Annotated[int, Field(ge=30, le=1200)]
    autoencoder: AutoencoderSchema


class RetrieveSchema(TrainedSchema):
    """Every key of ``conf/retrieve.yaml``."""

    action: Literal["query", "build", "evaluate"]
    data: Node | None
    index: str | None
    query: str | None
    neighbours: Count
    as_json: bool = Field(alias="json")
    evaluate: EvaluateSchema

    @model_validator(mode="after")
    def there_is_what_it_takes(self) -> "RetrieveSchema":
        needed = {
            "query": {"query": "an image, a folder or a pattern", "index": "what build wrote"},
            "build": {
                "checkpoint": "of a trained network",
                "data": "the images that it was trained on",
                "index": "the folder to write",
            },
            "evaluate": {
                "checkpoint": "of a trained network",
                "data": "labelled images, train and test",
            },
        }
        for key, what in needed[self.action].items():
            if getattr(self, key) is None:
                raise ValueError(f"{self.action}: add {key}=…, {what}")
        return self
