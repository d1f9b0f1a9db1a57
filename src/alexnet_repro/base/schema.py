"""What a record has to be, so that those who read it need not look again."""

import shlex
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from alexnet_repro.base.errors import one_line

RESULT = "result.json"
"""The record of a training run, in its folder."""

Node = dict[str, Any] | None


def _typed(command: str) -> str:
    shlex.split(command)
    return command


Command = Annotated[str, AfterValidator(_typed)]


class Part(BaseModel):
    """Of a record: fields that are read, as they have to be.

    What only measures read, they look after themselves.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")


class Machine(Part):
    processor: str | None = None
    gpu: str | None = None


class Dataset(Part):
    name: str
    split: str | None = None


class Errors(Part):
    top1: float
    top5: float
    top1_interval: list[float] = []


class Epoch(Part):
    """A row of a curve."""

    __pydantic_extra__: dict[str, float | None]
    epoch: float


class Config(Part):
    model: Node = None
    data: Node = None
    augment: Node = None
    optimizer: Node = None
    schedule: Node = None
    trainer: Node = None
    callbacks: Node = None


class Network(Part):
    experiment: str | None = None
    command: Command = ""
    seed: int | None = None
    config: Config | None = None


class Contents(Network):
    """Of a record as a whole; of a training run, that of a network too."""

    format: int
    command: Command
    date: str
    commit: str | None = None
    machine: Machine = Machine()
    dataset: Dataset | None = None
    split: str | None = None
    errors: dict[str, Errors] = {}
    chance: dict[str, float] | float = {}
    curve: list[Epoch] = []
    network: Network | None = None
    checkpoints: list[Network] = []


def checked_record(values: Any) -> dict[str, Any]:
    """``values``, which are a record's.

    Raises:
        ValueError: if they are not; :func:`reason` says why.
    """
    Contents.model_validate(values)
    checked: dict[str, Any] = values
    return checked


def read_record(path: Path) -> dict[str, Any]:
    """The record in a file.

    Raises:
        OSError, ValueError: if there is none; :func:`reason` says why.
    """
    return checked_record(from_json(path.read_bytes()))


def reason(error: Exception) -> str:
    """Why a record was not read, in one line."""
    if not isinstance(error, ValidationError):
        return f"it cannot be read as JSON ({one_line(error)})"
    place, said = first_mistake(error)
    return f"{place or 'content'}: {said}"


def first_mistake(error: ValidationError) -> tuple[str, str]:
    """Where pydantic found something wrong first, and what."""
    first = error.errors()[0]
    # For mappings pydantic adds the name of our class.
    said = first["msg"].removeprefix("Value error, ").partition(" or instance of ")[0]
    return ".".join(map(str, first["loc"])), f"{said[0].lower()}{said[1:]}"
