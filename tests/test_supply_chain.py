"""Dependencies have lower bounds and tested versions; actions of the workflow are pinned."""

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

TOP = Path(__file__).parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
LOCK = (TOP / "requirements" / "ci.txt").read_text().splitlines()
IN_CI = [
    Requirement(text)
    for extra in ("", "optuna", "slurm", "tensorboard", "reports", "serve", "dev")
    for text in (PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"])
    if not text.startswith("alexnet-repro")
]
IN_CI = [r for r in IN_CI if r.marker is None or r.marker.evaluate({"python_version": "3.11"})]
WORKFLOW = (TOP / ".github" / "workflows" / "ci.yml").read_text()


def locked() -> dict[str, Version]:
    lines = (line.split("==") for line in LOCK if not line.startswith("#"))
    return {name: Version(version) for name, version in lines}


@pytest.mark.parametrize("target", re.findall(r"run: make (\S+)", WORKFLOW))
def test_what_the_workflow_makes_ends_by_itself(target: str) -> None:
    shown = subprocess.run(["make", "-n", target], cwd=TOP, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "http.server" not in shown.stdout


def test_the_lock_is_names_and_versions_and_nothing_else() -> None:
    for line in LOCK:
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line
    names = [line.split("==")[0] for line in LOCK if not line.startswith("#")]
    assert names == sorted(set(names))


@pytest.mark.parametrize("requirement", IN_CI, ids=lambda requirement: str(requirement.name))
def test_a_dependency_has_a_lower_bound_and_a_tested_version(requirement: Requirement) -> None:
    operators = sorted(one.operator for one in requirement.specifier)
    # An upper one only where a newer version is known not to do.
    assert operators in ([">="], ["<", ">="])
    assert requirement.url is None
    version = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_what_the_locked_versions_need_is_locked_too() -> None:
    versions = locked()
    for name in versions:
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # CI of another platform
            continue
        for text in needed:
            requirement = Requirement(text)
            if requirement.marker is None:
                assert canonicalize_name(requirement.name) in versions, f"{name} needs {text}"


def test_actions_are_pinned_by_commit_with_the_version_beside_it() -> None:
    used = re.findall(r"uses: (.*)", WORKFLOW)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_the_workflow_may_only_read_and_looks_for_vulnerabilities() -> None:
    workflow = yaml.safe_load(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    assert not [job for job in workflow["jobs"].values() if "permissions" in job]
    (audit,) = (s["run"] for s in workflow["jobs"]["audit"]["steps"] if "-r " in s.get("run", ""))
    assert audit.startswith("pip-audit ")


def test_the_workflow_tests_the_oldest_python_and_all_that_are_promised() -> None:
    tested = yaml.safe_load(WORKFLOW)["jobs"]["test"]["strategy"]["matrix"]["python-version"]
    promised = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert f">={tested[0]}" == PROJECT["requires-python"]
    assert promised[0] == tested[0]
    assert promised[-1] in tested
