"""The schema of ``python -m alexnet_repro.predict``."""

from typing import Literal

from pydantic import Field, field_validator

from alexnet_repro.schema.base import Count, Schema


class NetworkSchema(Schema):
    """Which trained network, and where it computes."""

    checkpoint: str | None
    words: str | None
    device: str

    @field_validator("device")
    @classmethod
    def is_there(cls, value: str) -> str:
        import torch

        try:
            torch.zeros(1, device=value)
        except (RuntimeError, AssertionError) as error:
            raise ValueError("torch cannot use this device here; choose cpu") from error
        return value


class TrainedSchema(NetworkSchema):
    """Keys of commands that show images to a trained network."""

    batch_size: Count


class PredictSchema(TrainedSchema):
    """Every key of ``conf/predict.yaml``."""

    checkpoint: str
    images: str
    crops: Literal["centre", "ten"]
    top: Count
    as_json: bool = Field(alias="json")
