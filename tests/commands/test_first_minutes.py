"""What a person meets in the first minutes: every mistake is a line with what to type next."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from alexnet_repro import extras
from alexnet_repro.config import CONF
from alexnet_repro.errors import UsageError, out_of_memory
from alexnet_repro.examination import abilities

PACKAGE = Path(extras.__file__).parent


def python(
    directory: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_package_lists_its_commands_on_a_terminal_of_80_by_24(tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "alexnet_repro")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    listed = {line.split()[0] for line in lines[2:] if line.startswith("  ")} - {"python"}
    assert listed == {path.stem for path in (CONF / "hydra" / "help").glob("*.yaml")}


def test_the_package_runs_a_command_by_its_name(tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "alexnet_repro", "report", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("runs: runs\n")
    mistyped = python(tmp_path, "-m", "alexnet_repro", "trian", "seed=1")
    assert mistyped.returncode == 2
    assert "no command trian; did you mean train?" in mistyped.stderr
    assert mistyped.stderr.count("\n") == 1


def test_the_doctor_says_what_is_here_on_one_screen(tmp_path: Path) -> None:
    alone = {"HOME": str(tmp_path), "ALEXNET_REPRO_CACHE": str(tmp_path / "cache")}
    alone |= {"WANDB_API_KEY": "", "WANDB_MODE": "online", "NETRC": str(tmp_path / "none")}
    done = python(tmp_path, "-m", "alexnet_repro", "doctor", **alone)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    here = [line for line in lines if str(tmp_path) not in line]
    assert max(map(len, here)) <= 80
    assert torch.__version__ in done.stdout
    assert "no key, so logger=wandb stays offline; to go online: wandb login" in done.stdout
    assert lines[-1].strip() == "python -m alexnet_repro train experiment=demo"
    assert not list(tmp_path.iterdir())


def test_the_doctor_finds_prepared_stores(tmp_path: Path, cache: Path, tiny_run: Path) -> None:
    key = {"ALEXNET_REPRO_CACHE": str(cache), "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
    done = python(tmp_path, "-m", "alexnet_repro.doctor", "--json", **key)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    images = [store["images"] for store in found["stores"]]
    assert {"train": 24, "val": 9, "test": 9} in images
    assert found["wandb"] == "key"
    assert found["commands"].keys() == {
        path.stem for path in (CONF / "hydra" / "help").glob("*.yaml")
    }


def test_without_torch_every_command_says_what_to_type() -> None:
    told = abilities({"torch": None, "extras": {}})
    assert set(told.values()) == {"no: pip install --force-reinstall torch"}


def test_an_older_python_is_told_so(tmp_path: Path) -> None:
    script = "import sys; sys.version_info = (3, 9, 2); import alexnet_repro"
    done = python(tmp_path, "-c", script)
    assert done.returncode == 1
    assert done.stderr.startswith("error: alexnet_repro needs Python 3.11 or newer, this is 3.9;")
    assert done.stderr.count("\n") == 1
    # An older Python can read the file that tells it.
    ast.parse((PACKAGE / "__init__.py").read_text(), feature_version=(3, 8))


@pytest.mark.parametrize(
    ("argument", "extra"),
    [
        ("launcher=slurm", "slurm"),
        ("hydra/launcher=submitit_local", "slurm"),
        ("sweep=learning_rate", "optuna"),
    ],
)
def test_a_missing_plugin_is_told_with_what_installs_it(
    argument: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(UsageError) as told:
        extras.check_plugins(["-m", argument, "seed=1,2"])
    assert str(told.value).startswith(f"{argument}: its plugin is not installed; pip install")
    assert str(told.value).endswith(f"'alexnet-repro[{extra}]'")
    extras.check_plugins(["-m", "seed=1,2", "launcher=null"])


def test_every_extra_is_one_of_the_package() -> None:
    import tomllib

    declared = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text())
    optional = declared["project"]["optional-dependencies"].keys() - {"dev", "docs"}
    assert optional == extras.EXTRAS.keys()


def test_too_little_memory_is_told_with_a_smaller_batch(
    tiny: list[str], cache: Path, tmp_path: Path, tiny_run: Path
) -> None:
    script = """if True:
        import resource, sys
        from pathlib import Path
        import alexnet_repro.learning.run
        from alexnet_repro.train import main
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 2**30
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        main()
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("limits memory as Linux does")
    # fc6 alone would take 2.4 GB.
    wide = [*tiny, "model.width=4", f"hydra.run.dir={tmp_path}/run"]
    done = python(tmp_path, "-c", script, *wide, ALEXNET_REPRO_CACHE=str(cache))
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "error: out of memory: add data.batch_size=4 (it is 8); or a narrower network, "
        "model.width=0.5\n"
    )


def test_memory_of_a_gpu_is_memory_too() -> None:
    told = out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), 128)
    assert told is not None
    assert "data.batch_size=64 (it is 128)" in str(told)
    assert out_of_memory(RuntimeError("shapes cannot be multiplied"), 128) is None
