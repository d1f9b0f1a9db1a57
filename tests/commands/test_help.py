"""``--help`` of every command: on one screen, at once, and true."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import alexnet_repro
from alexnet_repro.config import CONF
from tests.forks import Forks

COMMANDS = sorted(path.stem for path in (CONF / "hydra" / "help").glob("*.yaml"))


def groups(command: str) -> list[str]:
    """The groups in the defaults list of a command."""
    defaults = yaml.safe_load((CONF / f"{command}.yaml").read_text())["defaults"]
    names = [next(iter(entry)) for entry in defaults if isinstance(entry, dict)]
    return [name for name in names if not name.startswith("override ")]


def test_every_command_has_a_help_of_its_own() -> None:
    assert [path.stem for path in sorted(CONF.glob("*.yaml"))] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_and_tells_every_choice_and_key(
    forks: Forks, tmp_path: Path, command: str
) -> None:
    done = forks.run("-m", f"alexnet_repro.{command}", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert 10 < len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert f"python -m alexnet_repro.{command}" in done.stdout.partition("Groups")[0]
    words = set(re.split(r"[^\w]+", done.stdout))
    for group in groups(command):
        choices = {path.stem for path in (CONF / group).glob("*.yaml")} - {"base"}
        assert {group} | {choice.removeprefix("ablation_") for choice in choices} <= words
    for key in yaml.safe_load((CONF / f"{command}.yaml").read_text()):
        assert key in words or key in {"defaults", "hydra"}, key


HELPED = """
import sys
from importlib import import_module
for command in sys.argv[1:]:
    main = import_module(f"alexnet_repro.{command}").main
sys.argv[1:] = ["--help"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_help_imports_nothing_that_takes_seconds() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELPED, *COMMANDS], capture_output=True, text=True, check=True
    )
    assert f"python -m alexnet_repro.{COMMANDS[-1]}" in done.stdout
    imported = set(done.stderr.split())
    assert "hydra" in imported
    assert not {"torch", "lightning", "wandb", "matplotlib", "pyarrow"} & imported


@pytest.mark.parametrize("module", ["alexnet_repro", *(f"alexnet_repro.{c}" for c in COMMANDS)])
def test_the_version_is_that_of_this_package(forks: Forks, tmp_path: Path, module: str) -> None:
    done = forks.run("-m", module, "--version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"alexnet_repro {metadata.version('alexnet-repro')}\n"
    assert alexnet_repro.__version__ == metadata.version("alexnet-repro")


@pytest.mark.parametrize("command", COMMANDS)
def test_cfg_job_prints_the_configuration_that_help_promises(
    forks: Forks, tmp_path: Path, command: str
) -> None:
    done = forks.run("-m", f"alexnet_repro.{command}", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    keys = yaml.safe_load((CONF / f"{command}.yaml").read_text()).keys() - {"defaults", "hydra"}
    assert keys <= yaml.safe_load(done.stdout).keys()


def test_the_shell_completes_choices_and_keys() -> None:
    command = str(Path(sys.executable).with_name("alexnet-train"))
    line = "alexnet-train experiment=ablation_no_l"
    completed = subprocess.run(
        [command, "-sc", "query=bash"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"COMP_LINE": line, "COMP_POINT": str(len(line))},
    )
    assert completed.stdout.split() == ["experiment=ablation_no_lrn"]


def test_the_package_is_light_and_its_classes_are_there() -> None:
    code = "import sys, alexnet_repro; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
    assert set(alexnet_repro.__all__) <= set(dir(alexnet_repro))
    for name in alexnet_repro.__all__:
        assert getattr(alexnet_repro, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'ResNet'"):
        alexnet_repro.ResNet  # noqa: B018
