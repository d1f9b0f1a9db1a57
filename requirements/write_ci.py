"""Write ``ci.txt``: the versions that are installed here of all that CI needs (``make lock``)."""

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
EXTRAS = ("optuna", "slurm", "tensorboard", "reports", "serve", "dev")
HEAD = """\
# What CI was last run with, on Linux with Python 3.11: the newest versions that the bounds of
# pyproject.toml admit and that are tested. To have exactly these:
# pip install -r requirements/ci.txt; pip install --no-deps -e .
"""


def main() -> None:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"]]
    texts += [text for extra in EXTRAS for text in project["optional-dependencies"][extra]]
    todo = [Requirement(text) for text in texts if not text.startswith(project["name"])]
    seen: set[tuple[str, frozenset[str]]] = set()
    versions: dict[str, str] = {}
    while todo:
        requirement = todo.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        distribution = metadata.distribution(name)
        # What follows a plus sign says where a version was built.
        versions[name] = distribution.version.split("+")[0]
        for needed in map(Requirement, distribution.requires or ()):
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in (*extras, "")):
                todo.append(needed)
    lines = (f"{name}=={version}\n" for name, version in sorted(versions.items()))
    (HERE / "ci.txt").write_text(HEAD + "".join(lines))


if __name__ == "__main__":
    main()
