"""The schema of ``python -m alexnet_repro.predict``."""

from typing import Literal

from pydantic import Field, field_validator

from alexnet_repro.schema.base import Count, Schema


class TrainedSchema(Schema):
    """Keys of commands that show images to a trained network."""

    checkpoint: str | None
    words: str | None
    batch_size: Count
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


class PredictSchema(TrainedSchema):
    """Every key of ``conf/predict.yaml``."""

    checkpoint: str
    images: str
    crops: Literal["centre", "ten"]
    top: Count
    as_json: bool = Field(alias="json")
