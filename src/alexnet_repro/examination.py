"""What a machine has, and what the commands can do with it."""

import json
import netrc
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_repro.config import CONF
from alexnet_repro.console import console
from alexnet_repro.cores import usable_cores
from alexnet_repro.extras import EXTRAS, installed
from alexnet_repro.results.record import version_of

SHOWN = 4
"""Prepared stores that are named."""

STORE_BYTES = {"ILSVRC, raw": 250e9, "ILSVRC, encoding=jpeg": 37e9}
"""Disk that a prepared ImageNet takes."""


def examine(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is there, as plain values. Nothing is changed, and no server is asked."""
    cache = Path(values["cache_dir"]).expanduser()
    return {
        "version": version_of("alexnet-repro") or "not installed",
        "configurations": str(CONF),
        "python": platform.python_version(),
        "torch": _torch(),
        "compiler": _compiler(),
        "cores": usable_cores(),
        "memory_bytes": _memory(),
        "disk": {"here": _free(Path.cwd()), "cache": _free(cache)},
        "cache": str(cache),
        "wandb": _wandb(),
        "stores": _stores(cache),
        "extras": {name: installed(name) for name in EXTRAS},
    }


def _torch() -> dict[str, Any] | None:
    try:
        import torch
    except (ImportError, OSError):
        return None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(i) for i in range(count)],
        "mps": torch.backends.mps.is_available(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _compiler() -> str | None:
    """The C++ compiler that ``torch.compile`` would call on a CPU."""
    named = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, filter(None, (named, "g++", "clang++")))), None)


def _memory() -> int | None:
    """Bytes of memory that this process may use: the machine's, or less in a container."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    try:
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return whole


def _free(path: Path) -> int:
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _wandb() -> str:
    """``key``, ``offline`` or ``no key``: what ``logger=wandb`` will find."""
    if os.environ.get("WANDB_MODE", "online") != "online":
        return "offline"
    if os.environ.get("WANDB_API_KEY"):
        return "key"
    host = (
        os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rpartition("//")[2].split("/")[0]
    )
    try:
        known = netrc.netrc(os.environ.get("NETRC", Path("~/.netrc").expanduser())).authenticators(
            host
        )
    except (OSError, netrc.NetrcParseError):
        return "no key"
    return "key" if known else "no key"


def _stores(cache: Path) -> list[dict[str, Any]]:
    found = []
    for manifest in sorted(cache.glob("*/manifest.json")):
        try:
            described = json.loads(manifest.read_text())
            images = {name: split["images"] for name, split in described["splits"].items()}
            found.append(
                {
                    "directory": str(manifest.parent),
                    "classes": len(described["classes"]),
                    "images": images,
                }
            )
        except (OSError, ValueError, KeyError, TypeError):
            found.append({"directory": str(manifest.parent), "damaged": True})
    return found


def device(found: Mapping[str, Any]) -> str:
    """Where networks are computed, in words."""
    torch = found["torch"]
    if torch["gpus"]:
        return f"on {len(torch['gpus'])} GPU{'s' if len(torch['gpus']) > 1 else ''}"
    return "on the GPU (MPS)" if torch["mps"] else "on the CPU"


def abilities(found: Mapping[str, Any]) -> dict[str, str]:
    """What every command can do here, in words; where it cannot, what to type."""
    torch, extras = found["torch"], found["extras"]
    names = sorted(path.stem for path in (CONF / "hydra" / "help").glob("*.yaml"))
    if torch is None:
        return dict.fromkeys(names, "no: pip install --force-reinstall torch")
    here = device(found)
    gpus = len(torch["gpus"])
    able = dict.fromkeys(names, f"yes, {here}")
    able |= dict.fromkeys(("doctor", "prepare", "report"), "yes")
    able["train"] = f"yes, {here}; two columns: trainer={'two_gpu' if gpus > 1 else 'two_cpu'}"
    able["convert"] = "yes: from=caffe, from=torchvision"
    able["export"] = (
        "yes: to=onnx, torch_export, safetensors"
        if extras["export"]
        else "to=torch_export; the others: pip install 'alexnet-repro[export]'"
    )
    if not extras["serve"]:
        able["serve"] = "no: pip install 'alexnet-repro[serve]'"
    return able


def report(found: Mapping[str, Any]) -> None:
    """Print it, in lines of at most 80 characters where paths allow it."""
    for name, text in _lines(found):
        console.print(f"{name:<10} {text}")
    console.print("\nWhat the commands can do here")
    alike: dict[str, list[str]] = {}
    for name, text in abilities(found).items():
        alike.setdefault(text, []).append(name)
    for text, names in alike.items():
        console.print(f"  {', '.join(names)}: {text}")
    if not found["stores"]:
        console.print("\nNo data here yet; this draws its own:")
        console.print("  python -m alexnet_repro train experiment=demo")


def _lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    torch, disk = found["torch"], found["disk"]
    memory = "unknown" if found["memory_bytes"] is None else _size(found["memory_bytes"])
    lines = [
        ("package", f"alexnet-repro {found['version']}, Python {found['python']}"),
        ("torch", "cannot be imported" if torch is None else _torch_text(torch)),
        ("GPU", "unknown" if torch is None else _gpu_text(torch)),
        ("compiler", found["compiler"] or "none: apt install g++ (for torch.compile on a CPU)"),
        ("machine", f"{found['cores']} cores, {memory} of memory"),
        ("disk", f"{_size(disk['here'])} free here, {_size(disk['cache'])} for {found['cache']}"),
        ("", "; ".join(f"{name} needs {_size(size)}" for name, size in STORE_BYTES.items())),
        ("W&B", WANDB[found["wandb"]]),
        ("extras", ", ".join(name for name, there in found["extras"].items() if there) or "none"),
    ]
    if missing := [name for name, there in found["extras"].items() if not there]:
        lines.append(("", f"not {', '.join(missing)}; pip install 'alexnet-repro[NAME]'"))
    for store in found["stores"][:SHOWN]:
        name = Path(store["directory"]).name
        text = "damaged: delete the folder"
        if "images" in store:
            images = ", ".join(f"{count:,} {split}" for split, count in store["images"].items())
            text = f"{store['classes']} classes, {images}"
        lines.append(("data", f"{name}: {text}"))
    if len(found["stores"]) > SHOWN:
        lines.append(("", f"and {len(found['stores']) - SHOWN} more in {found['cache']}"))
    return lines


WANDB = {
    "key": "there is a key: logger=wandb is online if the server can be reached",
    "no key": "no key, so logger=wandb stays offline; to go online: wandb login",
    "offline": f"offline, since WANDB_MODE={os.environ.get('WANDB_MODE')}",
}


def _torch_text(torch: Mapping[str, Any]) -> str:
    build = f"CUDA {torch['cuda']}" if torch["cuda"] else "no CUDA"
    return f"{torch['version']} ({build}), CPU instructions {torch['instructions']}"


def _gpu_text(torch: Mapping[str, Any]) -> str:
    if torch["gpus"]:
        return ", ".join(torch["gpus"])
    return "Apple's (MPS)" if torch["mps"] else "none that torch can use: trainer=gpu will not work"


def _size(count: float) -> str:
    return f"{count / 1e9:.0f} GB"
