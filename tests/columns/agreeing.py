"""One process of several that start together: what it decides and is about to do, as JSON."""

import json
import sys

from alexnet_repro.base.errors import UsageError
from alexnet_repro.columns.together import together


def main(rank: str, decision: str, mine: str) -> None:
    try:
        with together() as processes:
            if decision == "refuse":
                raise UsageError(f"refused by {rank}")
            heard = processes.decided(lambda: decision)
            if mine == "refuse":
                raise UsageError(f"refused by {rank}")
            seed = {} if mine == "none" else {"seed": mine}
            processes.agree(seed | {"commit": "abc"})
        print(json.dumps({"decided": heard}))
    except UsageError as error:
        print(json.dumps({"refused": str(error)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
