"""The wheel carries the configurations: the command works where there is no checkout."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """A folder that holds what pip installs of the wheel, scripts in ``bin``."""
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", built / "site", wheel], check=True, capture_output=True)
    return built / "site"


def test_the_source_distribution_is_what_a_user_builds_and_tests(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "hubconf.py", "Makefile", ".ci/run"} <= names
    assert "tests/conftest.py" in names
    assert not [name for name in names if name.startswith(("results/", "runs/", ".venv/"))]


def test_the_version_is_that_of_git(built: Path) -> None:
    described = subprocess.run(
        ["git", "-C", ROOT, "describe", "--tags", "--match", "v*"], capture_output=True, text=True
    )
    (wheel,) = built.glob("*.whl")
    version = wheel.name.split("-")[1]
    assert "+" not in version  # which an index would not take
    if described.returncode != 0:
        # No tags, or no git: the numbers before the first release.
        assert version.startswith("0.1")
    elif "-" in described.stdout:
        # 121 commits after v0.1.0 are the 121st step towards 0.1.1.
        commits = described.stdout.rsplit("-", 2)[1]
        assert f".dev{commits}" in version
    else:
        assert version.startswith(described.stdout.strip().removeprefix("v"))


def test_the_wheel_holds_every_configuration_file(installed: Path) -> None:
    conf = ROOT / "conf"
    expected = {path.relative_to(conf) for path in conf.rglob("*.yaml")}
    packaged = installed / "alexnet_repro" / "conf"
    assert {path.relative_to(packaged) for path in packaged.rglob("*.yaml")} == expected
    assert (installed / "hydra_plugins" / "alexnet_search.py").is_file()


def test_the_command_works_from_the_wheel_in_an_empty_directory(
    installed: Path, tmp_path: Path
) -> None:
    script = (
        "import alexnet_repro.base.config as config; print(config.CONF); "
        "from alexnet_repro.train import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--cfg", "job", "experiment=six_conv"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed / "alexnet_repro" / "conf"))
    assert "  sixth_conv: true\n" in done.stdout


def test_one_script_has_all_commands_and_their_configuration(
    installed: Path, tmp_path: Path
) -> None:
    commands = sorted(path.stem for path in (ROOT / "conf" / "hydra" / "help").glob("*.yaml"))
    scripts = {path.name for path in (installed / "bin").iterdir()}
    assert scripts == {"alexnet"}

    def python(*arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = python(installed / "bin" / "alexnet", "--help")
    assert [name for name in commands if f"  {name} " not in listed] == []
    script = """if True:
        import sys
        from importlib import import_module
        from hydra import compose, initialize_config_dir
        from alexnet_repro.base.config import CONF
        with initialize_config_dir(str(CONF), version_base="1.3"):
            for name in sys.argv[1:]:
                print(import_module(f"alexnet_repro.{name}").main.__name__, len(compose(name)) > 0)
    """
    assert python("-c", script, *commands).splitlines() == ["main True"] * len(commands)
    assert "bvlc_alexnet" in python(installed / "bin" / "alexnet", "convert", "caffe", "--help")


def test_it_is_typed(installed: Path) -> None:
    assert (installed / "alexnet_repro" / "py.typed").is_file()


def test_github_runs_what_runs_anywhere() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
