"""The schema of the networks: what ``model`` may be."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from alexnet_repro.schema.base import Count, Fraction, NonNegative, Positive, Schema


class ResponseNormSchema(Schema):
    n: Count
    k: Positive
    alpha: NonNegative
    beta: NonNegative
    divide_alpha_by_n: bool
    columns: Literal[1, 2] = 2  # of Caffe's networks; others normalize their own columns


RECIPE = "norm_before_relu_in_conv1"
"""A key that the recipes of the paper's network set, and the one of the CIFAR-10 networks not."""


class WithinMapNormSchema(Schema):
    size: Count
    scale: NonNegative
    beta: NonNegative


Classes = Annotated[int, Field(ge=2)] | None


class AlexNetSchema(Schema):
    target: Literal["alexnet_repro.AlexNet"] = Field(alias="_target_")
    num_classes: Classes
    columns: Literal[1, 2]
    activation: Literal["relu", "tanh"]
    response_norm: ResponseNormSchema | None
    pool: Literal["overlapping", "nonoverlapping"]
    dropout: Fraction
    removed_conv: Literal[2, 3, 4, 5] | None
    sixth_conv: bool
    width: Annotated[float, Field(gt=0, le=16)]
    norm_before_relu_in_conv1: bool
    within_map_norm_in_conv2: bool
    norm_after_pool: bool = False  # of CaffeNet; others have no such key
    weight_std: dict[str, NonNegative]
    bias: dict[str, float]

    @model_validator(mode="before")
    @classmethod
    def recipe_is_its_own(cls, values: Any) -> Any:
        if isinstance(values, dict) and RECIPE not in values:
            raise ValueError("this network takes recipe=paper or source2012")
        return values

    @field_validator("removed_conv", mode="before")
    @classmethod
    def conv1_stays(cls, value: Any) -> Any:
        if value == 1:
            # torch takes seconds to import, and --help needs this module.
            from alexnet_repro.network.alexnet import CONV1_STAYS

            raise ValueError(CONV1_STAYS)
        return value

    @model_validator(mode="after")
    def norm_has_one_place(self) -> "AlexNetSchema":
        if self.norm_after_pool and self.norm_before_relu_in_conv1:
            raise ValueError(
                "norm_after_pool and norm_before_relu_in_conv1 exclude each other: model=caffenet "
                "goes with recipe=caffe"
            )
        return self


class TorchvisionAlexNetSchema(Schema):
    target: Literal["alexnet_repro.TorchvisionAlexNet"] = Field(alias="_target_")
    num_classes: Annotated[int, Field(ge=2)] | None
    columns: Literal[1]
    dropout: Fraction

    @model_validator(mode="before")
    @classmethod
    def has_a_recipe_of_its_own(cls, values: Any) -> Any:
        if isinstance(values, dict) and "weight_std" in values:
            raise ValueError(
                "torchvision_alexnet goes with recipe=torchvision; "
                "experiment=torchvision_alexnet chooses both"
            )
        return values


class CifarNetSchema(Schema):
    target: Literal["alexnet_repro.Cifar18Net", "alexnet_repro.Cifar13Net"] = Field(
        alias="_target_"
    )
    num_classes: Classes
    activation: Literal["relu", "tanh"]
    response_norm: ResponseNormSchema | None
    within_map_norm: WithinMapNormSchema | None
    input_size: Annotated[int, Field(ge=8)]
    weight_std: dict[str, NonNegative]

    @model_validator(mode="before")
    @classmethod
    def recipe_is_its_own(cls, values: Any) -> Any:
        if isinstance(values, dict) and RECIPE in values:
            raise ValueError("this network takes recipe=cifar, as experiment=cifar_18 has it")
        return values


ModelSchema = Annotated[
    AlexNetSchema | CifarNetSchema | TorchvisionAlexNetSchema, Field(discriminator="target")
]
