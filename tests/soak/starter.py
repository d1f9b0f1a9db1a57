"""Starts training commands quickly: a process that has imported torch forks one for each.

It reads a line of JSON for each, the arguments and the folder to run in, writes its process id, and
when it has ended how. What the command prints goes to ``output.txt`` in that folder.
"""

import json
import os
import sys

from alexnet_repro.learning import run  # noqa: F401  the imports that take seconds
from alexnet_repro.train import main


def child(directory: str, arguments: list[str]) -> None:
    os.setsid()
    os.chdir(directory)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["alexnet_repro.train", *arguments]
    try:
        main()
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 0)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    for line in sys.stdin:
        directory, arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(directory, arguments)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
