"""The schema of ``python -m alexnet_repro.benchmark``."""

from typing import Literal

from pydantic import Field

from alexnet_repro.schema.base import Count, Schema


class _BenchmarkSchema(Schema):
    rounds: Count


class DataBenchmarkSchema(_BenchmarkSchema):
    target: Literal["alexnet_repro.benchmarks.data.data"] = Field(alias="_target_")
    images: str | None
    longer_side: Count | None
    stored_images: Count
    batch_size: Count
    slow_rounds: Count


class BenchmarkSchema(Schema):
    """Every key of ``conf/benchmark.yaml``."""

    benchmark: DataBenchmarkSchema
    output: str
