"""The schema of ``python -m alexnet_repro.export``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from alexnet_repro.schema.base import ForeignSchema, Node


class ExportSchema(ForeignSchema):
    """Every key of ``conf/export.yaml``."""

    to: Literal["onnx", "torch_export", "safetensors"]
    checkpoint: str
    output: str
    opset: Annotated[int, Field(ge=18, le=23)]
    quantize: bool
    data: Node | None
    split: Literal["val", "test"] | None
    record: str | None

    @model_validator(mode="after")
    def name_is_one_that_can_be_loaded(self) -> "ExportSchema":
        if self.to == "torch_export" and not self.output.endswith(".pt2"):
            raise ValueError(f"output={self.output}: torch.export.load wants a name with .pt2")
        return self

    @model_validator(mode="after")
    def error_can_be_measured(self) -> "ExportSchema":
        if self.quantize and self.to != "onnx":
            raise ValueError(f"quantize=true: to=onnx is what it quantizes, not to={self.to}")
        if self.quantize and self.data is None:
            raise ValueError("quantize=true: add data=…, the images that its error is measured on")
        return self
