"""Dependencies have lower bounds, and versions that were tested with this package."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
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


def locked() -> dict[str, Version]:
    lines = (line.split("==") for line in LOCK if not line.startswith("#"))
    return {name: Version(version) for name, version in lines}


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
