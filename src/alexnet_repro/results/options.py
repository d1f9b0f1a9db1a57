"""The keys of an evaluation; light, so that mistakes are reported before torch is imported."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from alexnet_repro.base.build import ArgumentsOf
from alexnet_repro.base.errors import UsageError

Node = dict[str, Any]


def _trainer(precision: Literal["32-true", "bf16-mixed", "16-mixed"]) -> None:
    """What the group ``performance`` sets."""


@dataclass(frozen=True)
class Evaluation:
    """Every key of ``conf/evaluate.yaml``."""

    checkpoint: str | list[str]
    data: Node
    split: Literal["val", "test"] | None
    crops: Literal["centre", "ten"]
    device: Literal["auto", "cpu", "gpu"]
    trainer: Annotated[Node, ArgumentsOf(_trainer)]
    fp32_precision: Literal["ieee", "tf32"]
    compile_network: bool
    output: str
    model: Node
    trust: str | None

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise UsageError("checkpoint is empty: give the path of a .ckpt file")
