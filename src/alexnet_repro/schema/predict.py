"""The schema of ``python -m alexnet_repro.predict``."""

from typing import Literal

from pydantic import Field

from alexnet_repro.schema.base import Count, ForeignSchema, Schema


class NetworkSchema(Schema):
    """Which trained network, and where it computes."""

    checkpoint: str | None
    words: str | None
    device: Literal["auto", "cpu", "gpu"]


class TrainedSchema(NetworkSchema):
    """Keys of commands that show images to a trained network."""

    batch_size: Count


class PredictSchema(TrainedSchema, ForeignSchema):
    """Every key of ``conf/predict.yaml``."""

    checkpoint: str
    images: str
    crops: Literal["centre", "ten"]
    top: Count
    as_json: bool = Field(alias="json")
