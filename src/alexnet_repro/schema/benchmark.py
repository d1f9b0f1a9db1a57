"""The schema of ``python -m alexnet_repro.benchmark``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from alexnet_repro.schema.base import Count, Natural, Schema


class _BenchmarkSchema(Schema):
    rounds: Count


class DataBenchmarkSchema(_BenchmarkSchema):
    target: Literal["alexnet_repro.benchmarks.data.data"] = Field(alias="_target_")
    images: str | None
    longer_side: Count | None
    stored_images: Count
    batch_size: Count
    slow_rounds: Count


class ColumnsBenchmarkSchema(_BenchmarkSchema):
    target: Literal["alexnet_repro.benchmarks.columns.columns"] = Field(alias="_target_")
    width: Annotated[float, Field(gt=0, le=16)]
    batch_size: Count
    micro_batches: Annotated[list[Count], Field(min_length=1)]
    performance: Annotated[list[Literal["exact", "fast"]], Field(min_length=1)]

    @model_validator(mode="after")
    def batches_divide(self) -> "ColumnsBenchmarkSchema":
        # 2: data parallelism on two processes.
        for parts in (2, *self.micro_batches):
            if self.batch_size % parts:
                raise ValueError(f"batch_size={self.batch_size} cannot be divided by {parts}")
        return self


class TrainStepBenchmarkSchema(_BenchmarkSchema):
    target: Literal["alexnet_repro.benchmarks.train_step.train_step"] = Field(alias="_target_")
    batch_size: Count
    command_epochs: Natural


class ResponseNormBenchmarkSchema(_BenchmarkSchema):
    target: Literal["alexnet_repro.benchmarks.response_norm.response_norm"] = Field(
        alias="_target_"
    )
    batch_size: Count


class StartupBenchmarkSchema(_BenchmarkSchema):
    target: Literal["alexnet_repro.benchmarks.startup.startup"] = Field(alias="_target_")


class EvaluateBenchmarkSchema(_BenchmarkSchema):
    target: Literal["alexnet_repro.benchmarks.evaluate.evaluate"] = Field(alias="_target_")
    batch_size: Count


class GrowthBenchmarkSchema(_BenchmarkSchema):
    target: Literal["alexnet_repro.benchmarks.growth.growth"] = Field(alias="_target_")
    batches: list[Count]
    classes: list[Annotated[int, Field(ge=2)]]
    widths: list[Annotated[float, Field(gt=0, le=16)]]
    images: list[Count]
    batch_size: Count


class BenchmarkSchema(Schema):
    """Every key of ``conf/benchmark.yaml``."""

    benchmark: Annotated[
        DataBenchmarkSchema
        | ColumnsBenchmarkSchema
        | TrainStepBenchmarkSchema
        | ResponseNormBenchmarkSchema
        | StartupBenchmarkSchema
        | EvaluateBenchmarkSchema
        | GrowthBenchmarkSchema,
        Field(discriminator="target"),
    ]
    output: str
