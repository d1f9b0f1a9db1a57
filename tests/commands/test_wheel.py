"""The wheel carries the configurations: the command works where there is no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs."""
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", built, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "site")
    return built / "site"


def test_the_wheel_holds_every_configuration_file(installed: Path) -> None:
    conf = ROOT / "conf"
    expected = {path.relative_to(conf) for path in conf.rglob("*.yaml")}
    packaged = installed / "alexnet_repro" / "conf"
    assert {path.relative_to(packaged) for path in packaged.rglob("*.yaml")} == expected


def test_the_command_works_from_the_wheel_in_an_empty_directory(
    installed: Path, tmp_path: Path
) -> None:
    script = (
        "import alexnet_repro.config as config; print(config.CONF); "
        "from alexnet_repro.train import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "summary=true", "experiment=six_conv"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed / "alexnet_repro" / "conf"))
    assert "conv6" in done.stdout


def test_the_console_script_is_declared(installed: Path) -> None:
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "alexnet-train = alexnet_repro.train:main" in entry_points.read_text()
