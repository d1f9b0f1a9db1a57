"""What the schemas of all commands share: types of values, and the keys of data sets."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from alexnet_repro.base.build import Count, Natural, NonNegative, Positive

__all__ = [
    "Count",
    "ForeignSchema",
    "Natural",
    "Node",
    "NonNegative",
    "Positive",
    "Precision",
    "Schema",
]

Node = dict[str, Any]
"""What is built, and checked by the signature of what it names."""
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class Schema(BaseModel):
    """Keys that are not declared are refused, and so are values of another type."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
    target: str = Field(alias="_target_", default="")
    partial: bool = Field(alias="_partial_", default=False)


class ForeignSchema(Schema):
    """What a user says of a trained network that is not of this package."""

    model: Node
    trust: str | None
