"""The schema of ``python -m alexnet_repro.prepare``."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from alexnet_repro.schema.base import Node, Schema


class PrepareActionSchema(Schema):
    verify: bool


class PrepareSchema(Schema):
    """Every key of ``conf/prepare.yaml``."""

    data: Node
    source: str | None
    output: str
    encoding: Literal["raw", "jpeg"]
    quality: Annotated[int, Field(ge=1, le=100)]
    part: str | None
    prepare: PrepareActionSchema

    @field_validator("part")
    @classmethod
    def is_a_part(cls, value: str | None) -> str | None:
        part = re.fullmatch(r"(\d+)/(\d+)", value or "1/1")
        if part is None or not 1 <= int(part[1]) <= int(part[2]):
            raise ValueError("expected a node and the number of nodes, such as 1/8 … 8/8")
        return value

    @model_validator(mode="after")
    def there_is_something_to_prepare(self) -> "PrepareSchema":
        if self.prepare.verify:
            return self
        if "_target_" not in (self.data.get("source") or {}):
            raise ValueError("data=prepared is prepared already; choose data=folder or another")
        if self.source is None:
            raise ValueError("source has no default: add source=… to the command")
        return self
