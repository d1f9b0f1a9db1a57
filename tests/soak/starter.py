"""Starts training commands quickly: a process that has imported torch forks one for each.

It reads a line of JSON for each (folder to run in, arguments, variables of the environment, largest
size of a file), writes its process id, and when it has ended how. What the command prints goes to
``output.txt`` in that folder.
"""

import json
import os
import resource
import sys
import traceback

from alexnet_repro.learning import run  # noqa: F401  the imports that take seconds
from alexnet_repro.train import main


def child(
    directory: str, arguments: list[str], environment: dict[str, str], largest_file: int | None
) -> None:
    os.setsid()
    os.chdir(directory)
    os.environ.update(environment)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    sys.argv = ["alexnet_repro.train", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(*asked)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
