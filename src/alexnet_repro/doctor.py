"""What this machine can do: ``python -m alexnet_repro doctor``."""

import json
import sys

from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.doctor import DoctorSchema


@command("doctor", words={"--json": "json=true"})
def main(config: DictConfig) -> None:
    values = validated(config, DoctorSchema)
    from alexnet_repro.examination import abilities, examine, report

    found = examine(values)
    if values["json"]:
        print(json.dumps(found | {"commands": abilities(found)}, indent=1))
    else:
        report(found)
    if found["torch"] is None:
        sys.exit(1)


if __name__ == "__main__":
    main()
