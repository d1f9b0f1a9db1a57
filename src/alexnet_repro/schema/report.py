"""The schema of ``python -m alexnet_repro.report`` and of the files of ``conf/claim``."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from alexnet_repro.schema.base import Natural, Schema


class SelectorSchema(Schema):
    """Which records: of these kinds, of this experiment, and with these values by dotted key."""

    kinds: list[str] = Field(default_factory=lambda: ["result"])
    experiment: str | None = None
    where: dict[str, Any] = Field(default_factory=dict)


class FigureSchema(Schema):
    """A figure of a claim: a quantity of some records, or what it is more than in others.

    ``agrees`` are the lowest and the highest value that agree with the paper, null for no bound.
    An ``effect`` has an interval that leaves 0 out before it agrees; comparisons always are one.
    With ``every`` each run has to agree, not their mean.
    """

    name: str
    quantity: str
    of: SelectorSchema | None = None
    minus: SelectorSchema | None = None
    over: SelectorSchema | None = None
    paper: float | None = None
    agrees: Annotated[list[float | None], Field(min_length=2, max_length=2)]
    unit: str = "points"
    digits: Natural = 1
    effect: bool = False
    every: bool = False

    @property
    def is_difference(self) -> bool:
        return self.minus is not None or self.effect


class ClaimSchema(Schema):
    """Every key of a file of ``conf/claim``; ``of``, ``minus`` and ``over`` are for all figures."""

    section: str
    text: str
    paper: str
    dataset: str
    split: str | None = None
    of: SelectorSchema | None = None
    minus: SelectorSchema | None = None
    over: SelectorSchema | None = None
    same: list[str] = Field(default_factory=list)
    figures: Annotated[list[FigureSchema], Field(min_length=1)]
    note: str | None = None
    commands: Annotated[list[str], Field(min_length=1)]

    @model_validator(mode="after")
    def figures_know_their_records(self) -> "ClaimSchema":
        for figure in self.figures:
            for name in ("of", "minus", "over"):
                if getattr(figure, name) is None:
                    setattr(figure, name, getattr(self, name))
            if figure.of is None:
                raise ValueError(f"{figure.name}: of= says which records it is read from")
        return self


class ReportSchema(Schema):
    """Every key of ``conf/report.yaml``."""

    runs: str
    output: str
    wandb: bool
    wandb_project: str
    wandb_entity: str | None
    claims: list[str]
