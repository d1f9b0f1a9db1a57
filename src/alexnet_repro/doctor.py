"""What this machine has: ``alexnet doctor``; nothing is sent or fetched."""

import json
import netrc
import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from alexnet_repro import cli
from alexnet_repro.base.console import console
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.extras import EXTRAS, installed
from alexnet_repro.base.files import user_path
from alexnet_repro.base.record import version_of
from alexnet_repro.base.system import usable_cores, usable_memory

SHOWN = 4
"""Prepared stores that are named."""


commands = cli.app()


@commands.command(epilog=cli.example("alexnet doctor --json"))
def doctor(
    cache_dir: Annotated[
        Path, typer.Option(envvar="ALEXNET_REPRO_CACHE", help="Folder of prepared stores.")
    ] = Path("~/.cache/alexnet_repro"),
    as_json: cli.AsJson = False,
) -> None:
    """Report what this machine has; nothing is sent or fetched."""
    try:
        from torch.utils import collect_env
    except (ImportError, OSError) as error:
        raise UsageError(
            f"torch cannot be imported ({error}); pip install --force-reinstall torch"
        ) from error

    found = examine(user_path(cache_dir))
    if as_json:
        environment = collect_env.get_env_info()._asdict()  # type: ignore[no-untyped-call]
        print(json.dumps(found | {"environment": environment}, indent=1, default=str))
        return
    for name, said in found.items():
        for line in said if isinstance(said, list) else [said]:
            console.print(f"{name:<10} {line}")
            name = ""
    if not found["data"]:
        console.print("\nNo data here yet; this renders its own:")
        console.print("  python -m alexnet_repro train experiment=demo")


def examine(cache: Path) -> dict[str, Any]:
    """What is there, by subject: a line or several of them."""
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    mps = ["Apple's (MPS)"] if torch.backends.mps.is_available() else []
    none = ["none that torch can use: trainer=gpu will not work"]
    compilers = map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))
    missing = [name for name in EXTRAS if not installed(name)]
    return {
        "package": f"alexnet-repro {version_of('alexnet-repro')}",
        "Python": platform.python_version(),
        "torch": f"{torch.__version__} ({build}), {torch.backends.cpu.get_cpu_capability()}",
        "GPU": gpus or mps or none,
        "columns": f"trainer={'two_gpu' if len(gpus) > 1 else 'two_cpu'} (one process per column)",
        "compiler": next(filter(None, compilers), None)
        or "none: apt install g++ (for torch.compile on a CPU)",
        "cores": f"{usable_cores()}",
        "memory": f"{usable_memory() / 2**30:.0f} GiB",
        "disk": [
            f"{_free(Path.cwd())} free here, {_free(cache)} for {cache}",
            "ILSVRC, raw needs 250 GB; ILSVRC, encoding=jpeg needs 37 GB",
        ],
        "W&B": _wandb(),
        "extras": [
            ", ".join(name for name in EXTRAS if name not in missing) or "none",
            *([f"not {', '.join(missing)}; pip install 'alexnet-repro[NAME]'"] if missing else []),
        ],
        "data": _stores(cache),
    }


def _free(path: Path) -> str:
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return f"{shutil.disk_usage(there).free / 1e9:.0f} GB"


def _wandb() -> str:
    """What ``logger=wandb`` will find."""
    if (mode := os.environ.get("WANDB_MODE", "online")) != "online":
        return f"offline, since WANDB_MODE={mode}"
    known: object = os.environ.get("WANDB_API_KEY")
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    with suppress(OSError, netrc.NetrcParseError):
        file = netrc.netrc(os.environ.get("NETRC"))  # else ~/.netrc
        known = known or file.authenticators(server.rpartition("//")[2].split("/")[0])
    if known:
        return "there is a key: logger=wandb is online if the server can be reached"
    return "no key, so logger=wandb stays offline; to go online: wandb login"


def _stores(cache: Path) -> list[str]:
    from alexnet_repro.data.store import open_store

    found = []
    for manifest in sorted(cache.glob("*/manifest.json")):
        try:
            store = open_store(manifest.parent)
        except UsageError as error:
            found.append(str(error))
            continue
        images = ", ".join(f"{len(split):,} {name}" for name, split in store.splits.items())
        found.append(f"{manifest.parent.name}: {len(store.classes)} classes, {images}")
    more = [f"and {len(found) - SHOWN} more in {cache}"] if len(found) > SHOWN else []
    return found[:SHOWN] + more


if __name__ == "__main__":
    cli.run(commands)
