"""What a person meets in the first minutes: every mistake is a line with what to type next."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet_repro.base import extras
from alexnet_repro.base.config import CONF
from alexnet_repro.base.errors import UsageError, out_of_memory
from tests.forks import Forks

Command = Callable[..., subprocess.CompletedProcess[str]]

PACKAGE = Path(extras.__file__).parents[1]


def test_the_package_lists_its_commands_on_a_terminal_of_80_by_24(
    forks: Forks, tmp_path: Path
) -> None:
    done = forks.run("-m", "alexnet_repro", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    listed = {line.split()[0] for line in lines[lines.index("Commands:") + 1 :]}
    composing = {path.stem for path in (CONF / "hydra" / "help").glob("*.yaml")}
    assert listed == composing | {
        "doctor", "predict", "report", "serve", "figures", "retrieve", "export", "convert"
    }  # fmt: skip


def test_the_package_runs_a_command_by_its_name(forks: Forks, tmp_path: Path) -> None:
    done = forks.run("-m", "alexnet_repro", "prepare", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\noutput: null\n" in done.stdout
    mistyped = forks.run("-m", "alexnet_repro", "trian", "seed=1", cwd=tmp_path)
    assert mistyped.returncode == 2
    assert "No such command 'trian'. Did you mean 'train'?" in mistyped.stderr
    assert mistyped.stderr.count("\n") == 1


def test_the_doctor_says_what_is_here_on_one_screen(forks: Forks, tmp_path: Path) -> None:
    alone = {"HOME": str(tmp_path), "ALEXNET_REPRO_CACHE": str(tmp_path / "cache")}
    alone |= {"WANDB_API_KEY": "", "WANDB_MODE": "online", "NETRC": str(tmp_path / "none")}
    done = forks.run("-m", "alexnet_repro", "doctor", cwd=tmp_path, env=alone)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    here = [line for line in lines if str(tmp_path) not in line]
    assert max(map(len, here)) <= 80
    assert torch.__version__ in done.stdout
    assert "no key, so logger=wandb stays offline; to go online: wandb login" in done.stdout
    assert lines[-1].strip() == "python -m alexnet_repro train experiment=demo"
    assert not list(tmp_path.iterdir())


def test_the_doctor_finds_prepared_stores(command: Command, tiny_run: Path) -> None:
    key = {"WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
    done = command("doctor", "--json", **key)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert any("3 classes, 24 train, 9 val, 9 test" in store for store in found["data"])
    assert found["W&B"].startswith("there is a key")
    assert found["environment"]["torch_version"] == torch.__version__


def test_without_torch_the_doctor_says_what_to_type() -> None:
    script = "import sys; sys.modules['torch'] = None; sys.argv[1:] = []\n"
    script += "from alexnet_repro import cli, doctor; cli.run(doctor.commands)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: torch cannot be imported")
    assert done.stderr.endswith("; pip install --force-reinstall torch\n")
    assert done.stderr.count("\n") == 1


def test_an_older_python_is_told_so() -> None:
    script = "import sys; sys.version_info = (3, 9, 2); import alexnet_repro"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
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
        ("callbacks=[lr_monitor,device_stats]", "device_stats"),
        ("logger=tensorboard", "tensorboard"),
        ("logger=[csv,mlflow]", "mlflow"),
    ],
)
def test_a_missing_plugin_is_told_with_what_installs_it(
    argument: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda module: None)
    with pytest.raises(UsageError) as told:
        extras.check_plugins(["-m", argument, "seed=1,2"])
    assert str(told.value).startswith(f"{argument}: {extra} is not installed; pip install")
    assert str(told.value).endswith(f"'alexnet-repro[{extra}]'")
    extras.check_plugins(["-m", "seed=1,2", "launcher=null"])


def test_every_extra_is_one_of_the_package() -> None:
    import tomllib

    declared = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text())
    optional = declared["project"]["optional-dependencies"].keys() - {"dev", "docs"}
    assert optional == extras.EXTRAS.keys()


LIMITED = """
import resource
from pathlib import Path
import alexnet_repro.training.run
from alexnet_repro.train import main
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main()
"""


def test_too_little_memory_is_told_with_a_smaller_batch(
    forks: Forks, tiny: list[str], tmp_path: Path, tiny_run: Path
) -> None:
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    if not Path("/proc/self/statm").exists():
        pytest.skip("limits memory as Linux does")
    # fc6 alone would take 2.4 GB.
    wide = [*tiny, "model.width=4", f"hydra.run.dir={tmp_path}/run"]
    done = forks.run(script, *wide, cwd=tmp_path)
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
