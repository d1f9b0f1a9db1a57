"""The commands: ``python -m alexnet_repro`` lists them, with a name behind it it runs one."""

import difflib
import re
import runpy
import sys

from alexnet_repro.config import CONF, USAGE_EXIT_CODE, print_version

FIRST = ("doctor", "train", "evaluate", "predict", "figures")
"""Of most use at the beginning, in this order; the others follow by name."""

WIDTH = 67
"""Characters that are left for it in a line of 80."""


def commands() -> dict[str, str]:
    """What each command does, by name: the beginning of its help."""
    names = [path.stem for path in (CONF / "hydra" / "help").glob("*.yaml")]
    names.sort(key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    return {name: _beginning(name) for name in names}


def _beginning(name: str) -> str:
    text = (CONF / "hydra" / "help" / f"{name}.yaml").read_text(encoding="utf-8")
    paragraph = text.partition("template: |-\n")[2].partition("\n\n")[0]
    sentence = re.split(r"[.:;] |\.$", " ".join(paragraph.split()))[0]
    clauses = re.sub(r" \([^)]*\)", "", sentence).split(", ")
    while len(", ".join(clauses)) > WIDTH:
        clauses.pop()
    return ", ".join(clauses)


def main() -> None:
    known = commands()
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print("AlexNet (Krizhevsky, Sutskever & Hinton 2012), reproduced.\n")
        for each, sentence in known.items():
            print(f"  {each:<11}{sentence}")
        print("\n  python -m alexnet_repro COMMAND --help     examples and keys of a command")
        print("  python -m alexnet_repro doctor             what works on this machine")
        return
    if name == "--version":
        print_version()
        return
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        print(
            f"error: there is no command {name}{meant} python -m alexnet_repro lists them",
            file=sys.stderr,
        )
        sys.exit(USAGE_EXIT_CODE)
    sys.argv = [f"alexnet_repro.{name}", *sys.argv[2:]]
    runpy.run_module(f"alexnet_repro.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
