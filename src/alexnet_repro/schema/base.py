"""What the schemas of all commands share: types of values, and the keys of data sets."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Limit = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class Schema(BaseModel):
    """Keys that are not declared are refused, and so are values of another type."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
    target: str = Field(alias="_target_", default="")
    partial: bool = Field(alias="_partial_", default=False)


class SourceSchema(Schema):
    """What the sources of data take; which of it one takes it says itself."""

    root: str | None = None
    seed: Natural = 0
    size: str | None = None
    year: Literal[2010, 2012] | None = None
    whole: str | None = None
    held_out: Fraction = 0
    min_images: Count = 1
    split_seed: Natural = 0


class DataSchema(Schema):
    name: str
    source: SourceSchema | None
    directory: str | None
    cache_dir: str
    max_damaged: Natural
    exif_orientation: Literal["ignore", "apply"]
    image_size: Annotated[int, Field(ge=8)]
    crop_size: Annotated[int, Field(ge=8)]
    input_size: Annotated[int, Field(ge=8)]
    batch_size: Count
    num_workers: Natural | None
