"""The schema of ``python -m alexnet_repro.evaluate``."""

from typing import Literal

from pydantic import model_validator

from alexnet_repro.schema.base import ForeignSchema, Node, Precision, Schema


class PrecisionSchema(Schema):
    precision: Precision


class EvaluateSchema(ForeignSchema):
    """Every key of ``conf/evaluate.yaml``."""

    checkpoint: str | list[str]
    data: Node
    split: Literal["val", "test"] | None
    crops: Literal["centre", "ten"]
    device: Literal["auto", "cpu", "gpu"]
    trainer: PrecisionSchema
    output: str

    @model_validator(mode="after")
    def there_is_a_checkpoint(self) -> "EvaluateSchema":
        if not self.checkpoint:
            raise ValueError("checkpoint is empty: give the path of a .ckpt file")
        return self
