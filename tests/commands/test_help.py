"""``--help`` of every command: on one screen, at once, and true."""

import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import alexnet_repro
from alexnet_repro.base.config import CONF
from tests.forks import Forks
from tests.typed import check_typed, with_options

COMPOSING = ("evaluate", "prepare", "train")
WITH_OPTIONS = with_options()


def groups(command: str) -> list[str]:
    """The groups in the defaults list of a command."""
    defaults = yaml.safe_load((CONF / f"{command}.yaml").read_text())["defaults"]
    names = [next(iter(entry)) for entry in defaults if isinstance(entry, dict)]
    return [name for name in names if not name.startswith("override ")]


def test_every_command_has_a_help_of_its_own() -> None:
    files = {path.stem for path in CONF.glob("*.yaml")}
    assert files == {*COMPOSING, "claims"}
    helped = sorted(path.stem for path in (CONF / "hydra" / "help").glob("*.yaml"))
    assert tuple(helped) == COMPOSING


@pytest.mark.parametrize("command", COMPOSING)
def test_help_fits_a_screen_and_tells_every_choice_and_key(
    forks: Forks, tmp_path: Path, command: str
) -> None:
    done = forks.run("-m", f"alexnet_repro.{command}", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert 10 < len(lines) <= 40
    # Hydra lists a group with its choices in one line.
    assert max(len(line) for line in lines if not re.match(r"\w+: ", line)) <= 80
    assert f"python -m alexnet_repro.{command}" in done.stdout.partition("Groups")[0]
    words = set(re.split(r"[^\w]+", done.stdout))
    for group in groups(command):
        choices = {path.stem for path in (CONF / group).glob("*.yaml")} - {"base"}
        assert {group} | choices <= words
    for key in yaml.safe_load((CONF / f"{command}.yaml").read_text()):
        assert key in words or key in {"defaults", "hydra"}, key


@pytest.mark.parametrize("names", WITH_OPTIONS, ids=" ".join)
def test_help_has_an_example_that_is_right_and_explains_every_option(
    forks: Forks, tmp_path: Path, names: tuple[str, ...]
) -> None:
    done = forks.run("-m", "alexnet_repro", *names, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    before, _, examples = done.stdout.rpartition("Example")
    assert re.search(r"^  [A-Z][^.]+[.;:]", before, re.MULTILINE)
    typed = " ".join(examples.partition(":")[2].split()).split("alexnet ")[1:]
    assert typed
    for line in typed:
        check_typed(shlex.split(line))
    for parameter in WITH_OPTIONS[names].params:
        assert parameter.help, parameter.name


HELPED = """
import sys
from alexnet_repro.__main__ import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("names", [(), *((name,) for name in COMPOSING), ("retrieve", "evaluate")])
def test_help_imports_nothing_that_takes_seconds(names: tuple[str, ...]) -> None:
    typed = [sys.executable, "-c", HELPED, *names, "--help"]
    done = subprocess.run(typed, capture_output=True, text=True, check=True)
    assert "data" in done.stdout
    imported = set(done.stderr.split())
    assert "hydra" in imported
    assert not {"torch", "lightning", "wandb", "matplotlib", "pyarrow"} & imported


@pytest.mark.parametrize("module", ["alexnet_repro", *(f"alexnet_repro.{c}" for c in COMPOSING)])
def test_the_version_is_that_of_this_package(forks: Forks, tmp_path: Path, module: str) -> None:
    done = forks.run("-m", module, "--version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"alexnet_repro {metadata.version('alexnet-repro')}\n"
    assert alexnet_repro.__version__ == metadata.version("alexnet-repro")


@pytest.mark.parametrize("command", COMPOSING)
def test_cfg_job_prints_the_configuration_that_help_promises(
    forks: Forks, tmp_path: Path, command: str
) -> None:
    done = forks.run("-m", f"alexnet_repro.{command}", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    keys = yaml.safe_load((CONF / f"{command}.yaml").read_text()).keys() - {"defaults", "hydra"}
    assert keys <= yaml.safe_load(done.stdout).keys()


COMPLETED = """
import sys
from alexnet_repro.__main__ import main
sys.argv = ["alexnet"]
main()
"""


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("alexnet pre", ["prepare", "predict"]),
        ("alexnet export qu", ["quantized"]),
        ("alexnet predict --cr", ["--crops"]),
        ("alexnet predict --crops ", ["centre", "ten"]),
    ],
)
def test_the_shell_completes_commands_options_and_choices(line: str, choices: list[str]) -> None:
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETED],
        capture_output=True,
        text=True,
        env=os.environ | asked | {"_ALEXNET_COMPLETE": "complete_bash"},
    )
    assert done.stdout.split() == choices, done.stderr


def test_the_package_is_light_and_its_classes_are_there() -> None:
    code = "import sys, alexnet_repro; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
    assert set(alexnet_repro.__all__) <= set(dir(alexnet_repro))
    for name in alexnet_repro.__all__:
        assert getattr(alexnet_repro, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'ResNet'"):
        alexnet_repro.ResNet  # noqa: B018
