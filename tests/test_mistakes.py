"""Every key of every command with a value that it cannot have: one line that names the key."""

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from pydantic import BaseModel

from alexnet_repro.config import CONF, validated
from alexnet_repro.errors import UsageError
from alexnet_repro.schema.benchmark import BenchmarkSchema
from alexnet_repro.schema.evaluate import EvaluateSchema
from alexnet_repro.schema.figures import FiguresSchema
from alexnet_repro.schema.predict import PredictSchema
from alexnet_repro.schema.prepare import PrepareSchema
from alexnet_repro.schema.report import ReportSchema
from alexnet_repro.schema.retrieve import RetrieveSchema
from alexnet_repro.schema.serve import ServeSchema
from alexnet_repro.schema.train import TrainSchema
from tests.forks import Forks

NEEDED: dict[str, tuple[type[BaseModel], list[str]]] = {
    "train": (TrainSchema, []),
    "prepare": (PrepareSchema, ["source=images", "output=store"]),
    "evaluate": (EvaluateSchema, ["checkpoint=a.ckpt"]),
    "predict": (PredictSchema, ["checkpoint=a.ckpt", "images=images"]),
    "figures": (FiguresSchema, ["figure=2"]),
    "retrieve": (RetrieveSchema, ["query=a.jpg", "index=index"]),
    "serve": (ServeSchema, ["checkpoint=a.ckpt"]),
    "report": (ReportSchema, []),
    "benchmark": (BenchmarkSchema, ["benchmark=data"]),
}
"""The commands, with what they cannot do without."""
GROUPS = {
    "train": [
        "model", "data", "augment", "optimizer", "schedule", "trainer", "performance", "logger",
        "recipe", "experiment",
    ],
    "prepare": ["data"],
    "benchmark": ["benchmark"],
}  # fmt: skip
"""Whose other choices may have keys of their own."""
TOGETHER = {
    ("model", "cifar_13"): ["recipe=cifar"],
    ("model", "cifar_18"): ["recipe=cifar"],
    ("model", "torchvision_alexnet"): ["recipe=torchvision"],
    ("recipe", "cifar"): ["model=cifar_18"],
    ("recipe", "torchvision"): ["model=torchvision_alexnet"],
}
"""Networks and the recipes that only they go with."""
PLACES = {"folder": "source.root", "prepared": "directory"}


def values_of(command: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(command, [*NEEDED[command][1], *overrides], return_hydra_config=True)
        config.hydra.runtime.output_dir = "run"
        HydraConfig.instance().set_config(config)
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return validated(config, NEEDED[command][0])


def configurations(command: str) -> Iterator[dict[str, Any]]:
    """The default, and that of every choice of every group."""
    yield values_of(command)
    for group in GROUPS.get(command, ()):
        for path in sorted((CONF / group).glob("*.yaml")):
            place = PLACES.get(path.stem, "source.root")
            somewhere = path.stem in PLACES or path.stem.startswith(("imagenet_", "huggingface"))
            more = [f"data.{place}=here"] if group == "data" and somewhere else []
            more = ["init_from=a.ckpt"] if path.stem == "finetune" and group != "schedule" else more
            more = TOGETHER.get((group, path.stem), more)
            if path.stem != "base" and not (command == "prepare" and path.stem == "prepared"):
                yield values_of(command, f"{group}={path.stem}", *more)


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def unfit(path: tuple[Any, ...], value: Any) -> list[Any]:
    """Values of another type than this one, negative and not finite ones."""
    nothing = {"a": 1}
    if isinstance(value, bool):
        return ["perhaps", 2, -1.5, nothing, ["yes"]]
    if isinstance(value, int | float):
        other = ["many", nothing, [1], math.nan, math.inf]
        # Biases may be negative.
        return other if path[:2] == ("model", "bias") else [*other, -7]
    if isinstance(value, str):
        return [3, -1, math.nan, nothing]
    return [nothing, [nothing]]


@pytest.mark.parametrize("command", NEEDED)
def test_every_key_of_every_group_refuses_what_it_cannot_be(command: str) -> None:
    seen: set[tuple[Any, ...]] = set()
    accepted = []
    for values in configurations(command):
        for path, value in leaves(values):
            if (kind := (*path, type(value))) in seen:
                continue
            seen.add(kind)
            *above, last = path
            level = values
            for key in above:
                level = level[key]
            for wrong in unfit(path, value):
                level[last] = wrong
                message = refused(values, NEEDED[command][0])
                # What an unknown _target_ belongs to is named without it.
                key = ".".join(path).removesuffix("._target_")
                if message is None or key not in message or "\n" in message:
                    accepted.append((".".join(path), wrong, message))
            level[last] = value
    assert accepted == []
    assert len(seen) >= 6


def refused(values: dict[str, Any], schema: type[BaseModel]) -> str | None:
    try:
        validated(OmegaConf.create(values), schema)
    except UsageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("command", NEEDED)
def test_a_key_that_there_is_not_is_named_with_the_one_that_is_like_it(command: str) -> None:
    values = values_of(command)
    for path, _ in list(leaves(values)):
        *above, last = path
        if above[:1] == ["logger"] or str(last).startswith("_") or len(str(last)) < 4:
            continue
        level = values
        for key in above:
            level = level[key]
        # A dictionary of layers takes any name.
        if above[-1:] in (["weight_std"], ["bias"]):
            continue
        misspelt = str(last)[:-2] + str(last)[:-3:-1]
        if misspelt == last:
            continue
        level[misspelt] = 1
        message = refused(values, NEEDED[command][0])
        del level[misspelt]
        name = ".".join([*above, misspelt])
        assert message is not None
        assert f"{name}: there is no such key; did you mean " in message


TYPED = [
    ("train", ["experimnet=demo"], "experimnet: there is no such key; did you mean experiment?"),
    ("train", ["experiment=dmeo"], "experiment=dmeo: there is no such choice; did you mean demo?"),
    ("train", ["model.widht=1"], "model.widht: there is no such key; did you mean model.width?"),
    ("train", ["model"], "model: not of the form KEY=VALUE"),
    ("train", ["seed=1,2"], "seed=1,2: one value is needed; a list is seed=[1,2], a sweep takes"),
    ("train", ["model=null"], "model=null: there is no such choice; there are alexnet, alexnet_"),
    ("train", ["-m", "seed=1", "data=cifra10"], "data=cifra10: there is no such choice; did you"),
    ("train", ["optimizer.lr=nan"], "optimizer.lr=nan: input should be a finite number"),
    ("predict", ["chekpoint=a", "images=b"], "chekpoint: there is no such key; did you mean check"),
    ("serve", ["checkpoint=a", "port=80000"], "port=80000: input should be less than or equal"),
]


def imported_for(arguments: list[str]) -> set[str]:
    """The modules that a command with a mistake imports."""
    program = (
        "import sys; from alexnet_repro.train import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try:\n    main()\nexcept SystemExit:\n    print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(("command", "arguments", "message"), TYPED)
def test_what_a_user_types_is_answered_in_one_line(
    forks: Forks, tmp_path: Path, command: str, arguments: list[str], message: str
) -> None:
    typed = ["-m", f"alexnet_repro.{command}", *arguments]
    done = forks.run(*typed, cwd=tmp_path, env={"HYDRA_FULL_ERROR": "0"})
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_mistake_is_seen_before_anything_slow_is_loaded() -> None:
    imported = imported_for(TYPED[0][1])
    assert "hydra" in imported
    assert "torch" not in imported


def test_hydra_full_error_shows_where_a_mistake_was_found(forks: Forks, tmp_path: Path) -> None:
    typed = ["-m", "alexnet_repro.train", "experimnet=demo"]
    done = forks.run(*typed, cwd=tmp_path, env={"HYDRA_FULL_ERROR": "1"})
    assert done.returncode != 0
    assert "Traceback" in done.stderr
