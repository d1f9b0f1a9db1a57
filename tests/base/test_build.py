"""The signature of what a node names says which keys it has, of which types, in which ranges."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning
import pytest
import torch
from pydantic import Field
from torch import nn

from alexnet_repro.base import build as building
from alexnet_repro.base.build import (
    Count,
    Fraction,
    build,
    build_partial,
    check,
    checks_arguments,
    described,
    located,
    taken,
    takes_any,
)
from alexnet_repro.base.errors import UsageError

HERE = __name__


class Part:
    """Some arguments, as our own signatures declare them."""

    @checks_arguments
    def __init__(
        self,
        n: Count = 5,
        mode: Literal["a", "b"] = "a",
        share: Fraction = 0.5,
        by_layer: Mapping[str, Annotated[float, Field(ge=0)]] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.n, self.mode, self.share, self.directory = n, mode, share, directory


class Whole:
    """Something made of parts."""

    def __init__(
        self, part: Part, source: Callable[[], Part] | None = None, parts: list[Part] | None = None
    ) -> None:
        self.part, self.source, self.parts = part, source, parts


def foreign(betas: tuple[float, float], wait: timedelta, place: Path, **more: Any) -> Any:
    """As somebody else would write it."""
    return betas, wait, place, more


def impatient(seconds: float) -> None:
    raise ValueError(f"{seconds} seconds\nare too long")


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importable as a module of this package."""
    import sys
    from types import ModuleType

    module = ModuleType("alexnet_repro_parts")
    for one in (Part, Whole, foreign, impatient):
        setattr(module, one.__name__, one)
    monkeypatch.setitem(sys.modules, "alexnet_repro_parts", module)
    for one in (Part, Whole):
        monkeypatch.setattr(one, "__module__", "alexnet_repro.parts")
    building._model.cache_clear()


PART, WHOLE = "alexnet_repro_parts.Part", "alexnet_repro_parts.Whole"


def refusal(node: dict[str, Any], key: str = "key", make: Any = build) -> str:
    with pytest.raises(UsageError) as told:
        make(node, key)
    assert "\n" not in str(told.value)
    return str(told.value)


# What is built


def test_an_object_of_another_package_is_built_of_its_arguments() -> None:
    trainer = build({"_target_": "lightning.Trainer", "max_steps": 7, "logger": False}, "trainer")
    assert isinstance(trainer, lightning.Trainer)
    assert trainer.max_steps == 7
    network = build({"_target_": "torchvision.models.resnet18", "num_classes": 3}, "model")
    assert network.fc.out_features == 3


def test_what_the_program_gives_replaces_what_the_node_has() -> None:
    assert build({"_target_": PART, "n": 1}, "part", n=2).n == 2


def test_nodes_among_the_arguments_are_built_before() -> None:
    node = {"_target_": WHOLE, "part": {"_target_": PART, "n": 3}, "parts": [{"_target_": PART}]}
    whole = build(node, "whole")
    assert (whole.part.n, whole.parts[0].n) == (3, 5)
    trainer = build(
        {
            "_target_": "lightning.Trainer",
            "logger": False,
            "callbacks": [{"_target_": "lightning.pytorch.callbacks.LearningRateMonitor"}],
        },
        "trainer",
    )
    assert any(type(one).__name__ == "LearningRateMonitor" for one in trainer.callbacks)


def test_an_argument_that_is_a_function_is_a_call_of_its_node() -> None:
    node = {"_target_": WHOLE, "part": {"_target_": PART}, "source": {"_target_": PART, "n": 9}}
    whole = build(node, "whole")
    assert whole.source().n == 9
    assert whole.source() is not whole.source()


def test_a_partial_node_waits_for_the_rest() -> None:
    node = {"_target_": "torch.optim.SGD", "lr": 0.1, "_partial_": True}
    optimizer = build(node, "optimizer")(nn.Linear(1, 1).parameters())
    assert optimizer.param_groups[0]["lr"] == 0.1
    given = build_partial({"_target_": "torch.optim.AdamW", "betas": [0.8, 0.9]}, "o", "params")
    made = given(params=nn.Linear(1, 1).parameters())
    assert made.param_groups[0]["betas"] == (0.8, 0.9)


def test_texts_and_lists_become_what_an_annotation_says() -> None:
    node = {"_target_": "alexnet_repro_parts.foreign", "betas": [0.9, 0.99], "wait": "00:10:00"}
    betas, wait, place, more = build(node | {"place": "here", "other": 1}, "key")
    assert (betas, wait, place) == ((0.9, 0.99), timedelta(minutes=10), Path("here"))
    assert more == {"other": 1}


# What is refused

TENSORBOARD = "lightning.pytorch.loggers.TensorBoardLogger"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "key.n=0: input should be greater than or equal to 1"),
        ({"n": True}, "key.n=true: input should be a valid integer"),
        ({"n": None}, "key.n=null: input should be a valid integer"),
        ({"mode": "c"}, "key.mode=c: input should be 'a' or 'b'"),
        ({"share": 1.0}, "key.share=1.0: input should be less than 1"),
        ({"share": float("nan")}, "key.share=nan: input should be a finite number"),
        ({"by_layer": {"conv1": -1}}, "key.by_layer.conv1=-1: input should be greater than or eq"),
        ({"modes": "a"}, "key.modes: there is no such key; did you mean key.mode?"),
        (
            {"n": 0, "mode": "c"},
            "key.n=0: input should be greater than or equal to 1; key.mode=c",
        ),
    ],
)
def test_an_argument_that_does_not_fit_is_named(arguments: dict[str, Any], message: str) -> None:
    assert refusal({"_target_": PART} | arguments).startswith(message)
    assert refusal({"_target_": PART} | arguments, make=check).startswith(message)
    node = {"_target_": WHOLE, "part": {"_target_": PART} | arguments}
    assert refusal(node).startswith(message.replace("key.", "key.part."))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "lightning.Trainer", "max_epochs": "many"}, "key.max_epochs=many: input sho"),
        (
            {"_target_": "lightning.Trainer", "precison": 16},
            "key.precison: there is no such key;",
        ),
        ({"_target_": "lightning.Trainer", "profiler": "simpel"}, "key: lightning.pytorch.trainer"),
        (
            {"_target_": TENSORBOARD, "save_dir": ".", "flush_secs": "x"},
            "key.flush_secs=x: input should be a valid integer",
        ),
        ({"_target_": "torch.optim.AdamX"}, "key._target_=torch.optim.AdamX: there is no AdamX in"),
        ({"_target_": "troch.optim.Adam"}, "key._target_=troch.optim.Adam: there is no module tro"),
        ({"_target_": "torch.pi"}, "key._target_=torch.pi: it is neither a class nor a function"),
        ({"_target_": 3}, "key._target_=3: it has to name a class or function, package.Name"),
        ({"lr": 3}, "key._target_=None: it has to name a class or function"),
        ({"_target_": WHOLE}, "key.part has no default: add key.part=…"),
        (
            {"_target_": "alexnet_repro_parts.impatient", "seconds": 9.0},
            "key: " + HERE + ".impatient: 9.0 seconds are too long",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(node: dict[str, Any], message: str) -> None:
    assert refusal(node).startswith(message)


def test_a_constructor_that_checks_its_arguments_does_so_wherever_it_is_called() -> None:
    with pytest.raises(ValueError, match=r"^n=-1: input should be greater than or equal to 1$"):
        Part(n=-1)
    with pytest.raises(ValueError, match=r"^mode=c: input should be 'a' or 'b'$"):
        Part(1, "c")  # type: ignore[arg-type]


def test_nothing_is_called_while_it_is_checked() -> None:
    check({"_target_": "alexnet_repro_parts.impatient", "seconds": 1.0}, "key")


# What a record says


def test_a_description_has_the_defaults_of_the_signature() -> None:
    plain = {"n": 3, "mode": "a", "share": 0.5, "by_layer": None, "directory": None}
    assert described({"_target_": PART, "n": 3}, "key") == {"_target_": PART} | plain
    optimizer = described({"_target_": "torch.optim.SGD", "lr": 0.1}, "optimizer")
    assert (optimizer["lr"], optimizer["momentum"]) == (0.1, 0)


def test_arguments_are_offered_to_those_that_name_them() -> None:
    assert located({"_target_": "torch.nn.Linear"}, "key") is nn.Linear
    assert taken(torch.optim.SGD, params=1, network=2) == {"params": 1}
    assert takes_any(foreign)
    assert not takes_any(impatient)
