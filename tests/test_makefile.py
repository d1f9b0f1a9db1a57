"""Which environment ``make`` installs into, and what it says while it does."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def dry(folder: Path, *arguments: str, active: Path | None = None) -> str:
    """What ``make demo`` would run."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "CONDA_PREFIX")}
    own = {} if active is None else {"VIRTUAL_ENV": str(active)}
    done = subprocess.run(
        ["make", "--dry-run", "--directory", ROOT, "demo", *arguments],
        env=inherited | own,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(folder: Path, *packages: str) -> Path:
    for package in packages:
        place = folder / "lib" / "python3.11" / "site-packages" / package
        place.mkdir(parents=True)
        (place / "version.py").touch()
    folder.mkdir(exist_ok=True)
    return folder


def test_an_environment_that_has_torch_is_used_and_no_other_is_filled(tmp_path: Path) -> None:
    active = environment(tmp_path / "with", "torch")
    assert f"{active}/bin/python -m pip install" in dry(tmp_path, active=active)
    without = environment(tmp_path / "without", "numpy")
    for other in (dry(tmp_path, active=without), dry(tmp_path)):
        assert "\n.venv/bin/python -m alexnet_repro.train" in other
        assert str(tmp_path) not in other


def test_an_environment_may_be_named(tmp_path: Path) -> None:
    active = environment(tmp_path / "with", "torch")
    assert "mine/bin/python -m pip install" in dry(tmp_path, "VENV=mine", active=active)


def test_it_says_how_large_the_installation_is_before_pip_begins(tmp_path: Path) -> None:
    before, _, _ = dry(tmp_path, "VENV=none").partition("-m pip install")
    assert "6.1 GB" in before
