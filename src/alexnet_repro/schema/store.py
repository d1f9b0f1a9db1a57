"""The schema of the manifest of a prepared store, which may come from anybody."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Amount = Annotated[int, Field(ge=0, lt=2**48)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Described(BaseModel):
    """Part of a manifest: the keys that it has, of the types that they have."""

    model_config = ConfigDict(extra="forbid", strict=True)


class FileSchema(Described):
    file: str
    xxh3_128: str


class ShardSchema(FileSchema):
    images: Amount
    bytes: Amount


class SplitSchema(Described):
    images: Amount
    labels: FileSchema
    shards: Annotated[list[ShardSchema], Field(min_length=1)]

    @model_validator(mode="after")
    def images_are_those_of_the_shards(self) -> "SplitSchema":
        if self.images != sum(shard.images for shard in self.shards):
            raise ValueError("its shards hold another number of images")
        return self


class ClassSchema(Described):
    name: str
    words: str | None = None


class StatisticsSchema(Described):
    mean_colour: list[Finite]
    covariance: list[list[Finite]]
    eigenvalues: list[Finite]
    eigenvectors: list[list[Finite]]
    xxh3_128: str


class ManifestSchema(Described):
    """Every key of ``manifest.json``."""

    format: int
    image_size: Annotated[int, Field(ge=1, lt=2**15)]
    encoding: Literal["raw", "jpeg"]
    quality: Annotated[int, Field(ge=1, le=100)] | None
    exif_orientation: Literal["ignore", "apply"]
    splits: Annotated[dict[Literal["train", "val", "test"], SplitSchema], Field(min_length=1)]
    statistics: StatisticsSchema
    classes: Annotated[list[ClassSchema], Field(min_length=1)]

    @model_validator(mode="after")
    def all_classes_have_words_or_none(self) -> "ManifestSchema":
        if len({one.words is None for one in self.classes}) > 1:
            raise ValueError("some of its classes have words and some have none")
        return self
