"""Every key and option with a value that it cannot have: one line that names it."""

import copy
import inspect
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
from omegaconf import OmegaConf

from alexnet_repro.base.build import TARGET, check, described
from alexnet_repro.base.config import CONF, composed, options, resolved
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.mistakes import meant
from alexnet_repro.prepare import Preparation
from alexnet_repro.results.options import Evaluation
from alexnet_repro.training.configuration import OWNED, Configuration
from tests.forks import Forks

from .recorded import configuration

Run = Callable[..., subprocess.CompletedProcess[str]]
COMPOSED: dict[str, tuple[type, list[str]]] = {
    "prepare": (Preparation, ["source=images", "output=store"]),
    "evaluate": (Evaluation, ["checkpoint=a.ckpt"]),
}
"""The other commands that compose groups, with what they cannot do without."""
OURS = "alexnet_repro."
CHOICES = [
    [],
    ["data=imagenet_2012", "data.source.root=here"],
    ["data=imagenet_fall2011", "data.source.root=here"],
    ["data=folder", "data.source.root=here"],
    ["data=huggingface", "data.source.root=here"],
    ["data=imagenette", "logger=wandb"],
    ["trainer=columns_ddp", "schedule=constant", "optimizer=source2012"],
    ["experiment=cifar_13_response_norm"],
    ["experiment=cifar_18"],
    ["model=torchvision_alexnet"],
]
"""Arguments of train that name, together, everything of this package that it can be built of."""


def of_train(*overrides: str) -> dict[str, Any]:
    """The configuration with all keys of what is ours in it."""
    values = copy.deepcopy(configuration(*overrides).recorded())
    del values["model"]["num_classes"]  # of the data, if it is not given
    values["model"].pop("input_size", None)
    for group in ("callbacks", "logger"):
        for name, node in (values[group] or {}).items():
            values[group][name] = described(node, name)
    if TARGET in values["strategy"]:
        values["strategy"] = described(values["strategy"], "strategy")
    del values["data"]["seed"]  # that of the run
    values["data"]["source"] = described(values["data"]["source"], "data.source")
    return values


def check_train(values: dict[str, Any]) -> None:
    Configuration.of(copy.deepcopy(values))


def of_command(command: str, *overrides: str) -> dict[str, Any]:
    return resolved(composed(command, *COMPOSED[command][1], *overrides))


def configurations(command: str) -> Iterator[dict[str, Any]]:
    """Configurations that together have every key of the command."""
    if command == "train":
        yield from (of_train(*choice) for choice in CHOICES)
    else:
        yield of_command(command)


def checking(command: str) -> Callable[[dict[str, Any]], None]:
    if command == "train":
        return check_train

    def check_command(values: dict[str, Any]) -> None:
        options(OmegaConf.create(values), COMPOSED[command][0])
        check(values["data"], "data")

    return check_command


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Keys and values of what is ours, which alone is as strict as we say."""
    if not values.get(TARGET, OURS).startswith(OURS):
        return
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        elif key != TARGET:
            yield (*path, key), value


def unfit(path: tuple[Any, ...], value: Any) -> list[Any]:
    """Values of another type than this one, negative and not finite ones."""
    nothing = {"a": "b"}
    if isinstance(value, bool):
        return ["perhaps", 2, -1.5, nothing, ["yes"]]
    if isinstance(value, int | float):
        other = ["many", nothing, [1], math.nan, math.inf]
        # Biases may be negative.
        return other if path[:2] == ("model", "bias") else [*other, -7]
    if isinstance(value, str):
        return [3, -1, math.nan, nothing]
    return [nothing, [nothing]]


def refused(command: str, values: dict[str, Any]) -> str | None:
    try:
        checking(command)(values)
    except UsageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("command", ["train", *COMPOSED])
def test_every_key_refuses_what_it_cannot_be(command: str) -> None:
    seen: set[tuple[Any, ...]] = set()
    accepted = []
    for values in configurations(command):
        assert refused(command, values) is None
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
                message = refused(command, values)
                if message is None or ".".join(path) not in message or "\n" in message:
                    accepted.append((".".join(path), wrong, message))
            level[last] = value
    assert not accepted, "\n".join(map(str, accepted))
    assert len(seen) >= 6


@pytest.mark.parametrize("command", ["train", *COMPOSED])
def test_a_key_that_there_is_not_is_named_with_the_one_that_is_like_it(command: str) -> None:
    values = next(configurations(command))
    for path, _ in list(leaves(values)):
        *above, last = path
        # A mapping of layers takes any name.
        if len(str(last)) < 4 or above[-1:] in (["weight_std"], ["bias"]):
            continue
        level = values
        for key in above:
            level = level[key]
        misspelt = str(last)[:-2] + str(last)[:-3:-1]
        if misspelt == last:
            continue
        level[misspelt] = 1
        message = refused(command, values)
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
    (
        "train",
        ["experiment=[small,alexnet]", "callbacks=null"],
        "callbacks=null: there is no such choice; there are default, ",
    ),
    ("train", ["+logger=csv"], "+logger=…: leave out the plus sign"),
    ("train", ["-m", "seed=1", "data=cifra10"], "data=cifra10: there is no such choice; did you"),
    ("train", ["data=mnist"], "data=mnist: there is no such choice; there are cifar10, folder, "),
    ("train", ["paths.data_dir=a"], "paths: there is no such key; type data.cache_dir=FOLDER"),
    ("train", ["seed=${nope}"], "seed=${nope}: there is no key nope"),
    ("train", ["model.width=${data.nope}"], "model.width=${data.nope}: there is no key data.nope"),
    ("train", ["data.num_workers=5000"], "data.num_workers=5000: at most "),
    ("train", ["data.cache_dir=''"], "data.cache_dir='': there is no value"),
    ("train", ["seed=${seed}"], "seed=${seed}: Recursive interpolation detected"),
    ("train", ["seed=${oc.env:NOPE}"], "seed=${oc.env:NOPE}: KeyError raised while resolving"),
    ("train", ["data=[a,b]"], "data=b: there is no such choice; there are cifar10, "),
    ("train", ["lr=0.1"], "lr: there is no such key; did you mean optimizer.lr?"),
    (
        "train",
        ["trainer.fast_dev_rnu=1"],
        "trainer.fast_dev_rnu: there is no such key; did you mea",
    ),
    ("train", ["trainer.barebones=true"], "trainer.barebones: a run keeps its record"),
    (
        "train",
        ["optimizer=adam"],
        "optimizer=adam: there is no such choice; did you mean adamw?",
    ),
    ("train", ["optimizer=sgd", "optimizer.lr=-1"], "optimizer: torch.optim.sgd.SGD: Invalid lear"),
    (
        "train",
        ["schedule=step", "trainer.max_epochs=2"],
        "trainer.max_epochs=2: the length of training is schedule.epochs",
    ),
    ("evaluate", ["chekpoint=a"], "chekpoint: there is no such key; did you mean checkpoint?"),
    ("evaluate", ["checkpoint=a", "crops=five"], "crops=five: input should be 'centre' or 'ten'"),
    ("train", ["-cn", "nothere"], "-cn nothere: there is no such configuration; train is that of"),
    (
        "train",
        ["--experiment", "demo"],
        "--experiment: keys are typed without dashes: experiment=d",
    ),
    ("train", ["--seed=1"], "--seed=1: keys are typed without dashes: seed=1"),
    ("evaluate", ["--summary"], "--summary: keys are typed without dashes: summary=VALUE"),
    ("train", ["data.batch_size=a b("], "data.batch_size=a b(: not of the form KEY=VALUE ("),
    (
        "prepare",
        ["data=folder", "source=a", "data.name=${nope}"],
        "data.name: Interpolation key 'nope' not found",
    ),
    ("prepare", ["source=.", "output="], "output=: there is no value"),
    ("prepare", ["data=folder", "source="], "source=: there is no value"),
    ("train", ["hydra.run.dir="], "hydra.run.dir=: there is no value"),
    ("train", ["run_name=''"], "run_name='': there is no value"),
    ("train", ["data=prepared", "data.directory="], "data.directory=: there is no value"),
    ("prepare", ["source=.", "output=/"], "output=/: name the folder to write"),
    ("prepare", ["souce=a"], "souce: there is no such key; did you mean source?"),
    (
        "prepare",
        ["source=.", "output=a", "part=9/8"],
        "part=9/8: expected a node and the number",
    ),
    ("predict", ["a", "--chekpoint", "b"], "No such option: --chekpoint (Possible options: --ch"),
    ("predict", ["a"], "Missing option '--checkpoint'"),
    ("predict", ["a", "--checkpoint", ""], "an argument is empty (an unset"),
    ("predict", ["a", "--checkpoint", "b"], "b: there is no such checkpoint"),
    ("predict", ["checkpoint=a", "images=b"], "checkpoint=a: KEY=VALUE is for train, evaluate and"),
    ("predict", ["a", "--top", "0"], "Invalid value for '--top': Input should be greater than"),
    ("figures", ["figure=3"], "figure=3: KEY=VALUE is for train, evaluate and prepare; here opti"),
    ("figures", ["5"], "No such command '5'"),
    ("figures", ["2", "--format", "gif"], "Invalid value for '--format': 'gif' is not one of 'png"),
    ("retrieve", ["build", "--index", "a"], "Missing argument 'data=NAME...'"),
    (
        "serve",
        ["--port", "80000"],
        "Invalid value for '--port': Input should be less than or equal",
    ),
    ("report", ["none"], "Invalid value for 'runs': path 'none' does not exist"),
    ("doctor", ["--jsn"], "No such option: --jsn (Possible options: --json)"),
    ("__main__", ["trian"], "No such command 'trian'. Did you mean 'train'?"),
]
"""Commands and how their answer begins."""
MEANT = {
    "ckpt_path": "resume=PATH",
    "task_name": "run_name=NAME",
    "tags": "logger.wandb.tags=[…]",
    "paths.data_dir": "data.cache_dir=FOLDER",
    "hparams_search": "sweep=learning_rate",
    "train": "python -m alexnet_repro.evaluate",
    "lr": "optimizer.lr?",
    "weight_decay": "optimizer.weight_decay?",
    "dropout": "model.dropout?",
    "batch_size": "data.batch_size?",
    "epochs": "schedule.epochs=",
    "max_epochs": "schedule.epochs=",
    "fast_dev_run": "trainer.fast_dev_run",
    "profiler": "trainer.profiler",
    "gradient_clip_val": "trainer.gradient_clip_val",
    "accumulate_grad_batches": "trainer.accumulate_grad_batches",
    "experimnet": "experiment?",
    "sede": "seed?",
}
"""What is typed for train, and the key that is meant."""


@pytest.mark.parametrize("typed", MEANT)
def test_what_users_of_other_programs_type_gets_the_key_that_is_meant(typed: str) -> None:
    assert MEANT[typed] in meant(typed, CONF, "train")


def test_a_key_of_train_is_not_meant_for_another_command() -> None:
    assert meant("lr", CONF, "prepare") == meant("profiler", CONF, "evaluate") == ""
    assert meant("chekpoint", CONF, "evaluate") == "; did you mean checkpoint?"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+lr=0.1", "lr: there is no such key; did you mean optimizer.lr?"),
        ("data.seed=1", "data.seed: it is set by seed, which the data are given"),
        ("trainer.logger=false", "trainer.logger: logger=NAME chooses one"),
        ("trainer.default_root_dir=x", "trainer.default_root_dir: hydra.run.dir=FOLDER is where"),
        (
            "trainer.max_epcohs=1",
            "trainer.max_epcohs: there is no such key; did you mean trainer.m",
        ),
        (
            "callbacks.mine._target_=mine.Callback",
            "callbacks.mine._target_=mine.Callback: there is",
        ),
        (
            "optimizer._target_=torch.optim.AdamX",
            "optimizer._target_=torch.optim.AdamX: there is n",
        ),
    ],
)
def test_a_mistake_in_what_is_built_is_told_with_its_key(override: str, message: str) -> None:
    with pytest.raises(UsageError) as told:
        configuration(override)
    assert str(told.value).startswith(message)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", OWNED)
def test_arguments_of_the_trainer_that_come_from_elsewhere_say_from_where(name: str) -> None:
    assert name in inspect.signature(lightning.Trainer).parameters
    with pytest.raises(UsageError, match=f"trainer.{name}: {re.escape(OWNED[name])}"):
        configuration(f"trainer.{name}=1")


def test_every_other_argument_of_the_trainer_is_a_key() -> None:
    for name, parameter in inspect.signature(lightning.Trainer).parameters.items():
        # How long a training is, schedule.epochs says.
        if name not in {*OWNED, "accelerator", "devices", "num_nodes", "max_epochs"}:
            value = "null" if parameter.default is None else parameter.default
            configuration(f"trainer.{name}={value}")


@pytest.fixture
def run(forks: Forks, tmp_path: Path) -> Run:
    """``python -m ARGUMENTS`` in an empty folder."""

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return forks.run("-m", *arguments, cwd=tmp_path, env={"HYDRA_FULL_ERROR": "0"})

    return start


@pytest.mark.parametrize(("command", "arguments", "message"), TYPED)
def test_what_a_user_types_is_answered_in_one_line(
    run: Run, command: str, arguments: list[str], message: str
) -> None:
    done = run(f"alexnet_repro.{command}", *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_multirun_of_nothing_is_a_mistake_and_leaves_no_folder(run: Run, tmp_path: Path) -> None:
    done = run("alexnet_repro.train", "-m", "experiment=glob(nope_*)")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: experiment=glob(nope_*): no choice has such a name; there"
    )
    assert not list(tmp_path.iterdir())


def test_a_flag_may_stand_between_overrides(run: Run) -> None:
    done = run("alexnet_repro.train", "experiment=demo", "--cfg", "job", "model.dropout=0.3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  dropout: 0.3\n" in done.stdout
    assert "  width: 0.25\n" in done.stdout


def test_a_search_without_m_is_a_mistake_and_leaves_no_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text("# @package _global_\nseed: 1\n")
    done = run("alexnet_repro.train", f"--config-dir={tmp_path}", "sweep=mine")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: sweep=mine: a search is many runs: add -m\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "profiler=simple"],
        ["evaluate", "checkpoint=a", "crops=five"],
        ["prepare", "source=a", "output=b", "part=9/8"],
        ["predict", "a", "--checkpoint", "none"],
        ["retrieve", "evaluate", "data=mnist"],
        ["export", "quantized", "a", "model=alexnet"],
    ],
)
def test_a_mistake_is_told_before_anything_slow_is_loaded(arguments: list[str]) -> None:
    imported = imported_for(arguments)
    assert "hydra" in imported
    assert not {"torch", "lightning"} & imported


@pytest.mark.parametrize("mistake", ["model.dropout=2", "model.columns=3", "optimizer.lr=-1"])
def test_a_wrong_value_of_the_network_or_optimizer_is_told_before_lightning_is_loaded(
    mistake: str,
) -> None:
    imported = imported_for(["train", mistake])
    assert "torch" in imported
    assert "lightning" not in imported


def imported_for(arguments: list[str]) -> set[str]:
    """The modules that a command with a mistake imports."""
    program = (
        "import sys; from alexnet_repro.__main__ import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try:\n    main()\nexcept SystemExit:\n    print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return set(done.stdout.split())


def test_hydra_full_error_shows_where_a_mistake_was_found(forks: Forks, tmp_path: Path) -> None:
    typed = ["-m", "alexnet_repro.train", "experimnet=demo"]
    done = forks.run(*typed, cwd=tmp_path, env={"HYDRA_FULL_ERROR": "1"})
    assert done.returncode != 0
    assert "Traceback" in done.stderr
