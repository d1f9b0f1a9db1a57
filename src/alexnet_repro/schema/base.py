"""What the schemas of all commands share: types of values, and the keys of data sets."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Limit = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Instantiated = dict[str, Any]


class Schema(BaseModel):
    """Keys that are not declared are refused, and so are values of another type."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
    target: str = Field(alias="_target_", default="")
    partial: bool = Field(alias="_partial_", default=False)


class DataSchema(Schema):
    name: str
    source: Instantiated | None
    directory: str | None
    cache_dir: str
    max_damaged: Natural
    exif_orientation: Literal["ignore", "apply"]
    image_size: Annotated[int, Field(ge=8)]
    crop_size: Annotated[int, Field(ge=8)]
    input_size: Literal[224, 227]
    batch_size: Count
    num_workers: Natural | None
