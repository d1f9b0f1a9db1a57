"""What an evaluation takes; light, since a mistake in it is told before torch is loaded."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from alexnet_repro.base.build import ArgumentsOf

Node = dict[str, Any]


def _trainer(precision: Literal["32-true", "bf16-mixed", "16-mixed"]) -> None:
    """What the group ``performance`` sets."""


@dataclass(frozen=True)
class Evaluation:
    """Every key of ``conf/evaluate.yaml``."""

    checkpoint: Annotated[str | list[str], Field(min_length=1)]
    data: Node
    split: Literal["val", "test"] | None
    crops: Literal["centre", "ten"]
    device: Literal["auto", "cpu", "gpu"]
    trainer: Annotated[Node, ArgumentsOf(_trainer)]
    output: str
    model: Node
    trust: str | None
