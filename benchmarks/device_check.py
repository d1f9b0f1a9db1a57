"""Whether a device computes what it should, and how fast: parts that fail alone, in one command.

    python benchmarks/device_check.py --output FOLDER

takes eight minutes at most on one GPU. Every part is a process of its own, which is ended when its
time is up; what it says and finds is in a file of its own in ``--output``. ``--toy`` runs all of it
in small, on a CPU too.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from alexnet_repro import AlexNet, ResponseNorm
from alexnet_repro.base.files import write_json
from alexnet_repro.base.record import provenance
from alexnet_repro.network.layers import normalize, normalize_backward
from alexnet_repro.training.device import compile_network, set_fp32_precision
from alexnet_repro.training.module import ImageClassifier
from measuring import seconds
from step import DEVICE

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[1]
CONSTANTS = (5, 2.0, 1e-4, 0.75, 2)
"""n, k, α, β and columns of the paper's norms."""
Rows = Iterator[dict[str, Any]]


def relative(found: Tensor, exact: Tensor) -> float:
    found, exact = found.detach().double().cpu(), exact.detach().double().cpu()
    return float((found - exact).norm() / exact.norm())


def equal(toy: bool) -> Rows:
    """Logits and every gradient beside float64 on the CPU, for each way to compute."""
    width, classes = (0.1, 10) if toy else (1.0, 1000)
    torch.manual_seed(0)
    std = dict.fromkeys(("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"), 0.03)
    exact = AlexNet(classes, width=width, dropout=0.0, weight_std=std).double()
    images, label = 60 * torch.randn(8, 3, 224, 224), torch.randint(classes, (8,))
    logits = exact(images.double())
    cross_entropy(logits, label).backward()  # type: ignore[no-untyped-call]
    ways = [(DEVICE.type, name) for name in ("exact", "tf32", "fast", "fastest")]
    if DEVICE.type != "cpu":
        # How far a CPU is from float64 with such weights.
        ways += [("cpu", name) for name in ("exact", "fast")]
    for device, performance in ways:
        set_fp32_precision("tf32" if performance == "tf32" else "ieee")
        network = AlexNet(classes, width=width, dropout=0.0)
        network.load_state_dict({name: w.float() for name, w in exact.state_dict().items()})
        network.to(device).to(memory_format=torch.channels_last)
        if performance == "fastest":
            compile_network(network, device == "cpu")
        with torch.autocast(device, torch.bfloat16, enabled=performance.startswith("fast")):
            found = network(images.to(device, memory_format=torch.channels_last))
        cross_entropy(found.float(), label.to(device)).backward()  # type: ignore[no-untyped-call]
        of_gradients = {
            name: relative(mine.grad, theirs.grad)
            for (name, mine), theirs in zip(
                network.named_parameters(), exact.parameters(), strict=True
            )
            if mine.grad is not None and theirs.grad is not None
        }
        worst = max(of_gradients, key=lambda name: of_gradients[name])
        yield {
            "device": device,
            "performance": performance,
            "logits": relative(found, logits),
            "worst_gradient": of_gradients[worst],
            "of": worst,
        }


def norms(toy: bool) -> Rows:
    """Both norms, compiled and not: error beside float64, and bandwidth."""
    images = 2 if toy else 128
    for layer, shape in (("conv1", (images, 96, 55, 55)), ("conv2", (images, 256, 27, 27))):
        a = (30 * torch.randn(shape, device=DEVICE)).relu().bfloat16()
        a = a.to(memory_format=torch.channels_last).requires_grad_()
        gradient = torch.randn_like(a)
        few = a.detach()[:2].double().cpu()
        exact = normalize_backward(gradient[:2].double().cpu(), few, *CONSTANTS)
        for compiled in (False, True):
            ResponseNorm.compiled = compiled
            norm = ResponseNorm(shape[1], columns=2)

            def both_ways(norm: nn.Module = norm, a: Tensor = a, g: Tensor = gradient) -> Tensor:
                return torch.autograd.grad(norm(a), a, g)[0]

            taken = seconds(both_ways)
            yield {
                "layer": layer,
                "compiled": ResponseNorm.compiled,
                "output_error": relative(norm(a)[:2], normalize(few, *CONSTANTS)),
                "gradient_error": relative(both_ways()[:2], exact),
                "milliseconds": round(1e3 * taken, 3),
                # What has to be: a and b, then a, the gradient and a's.
                "GB/s": round(5 * a.nbytes / taken / 1e9),
            }


def waits(toy: bool) -> Rows:
    """Whether the host waits for the device within a step; torch says where."""
    module = ImageClassifier(AlexNet(10, width=0.1 if toy else 1.0), 10).to(DEVICE)
    optimizer = module.configure_optimizers()
    images = torch.randn(8, 3, 224, 224, device=DEVICE)
    batch = images, torch.zeros(8, dtype=torch.long, device=DEVICE)
    for number in range(3):
        if number == 2 and DEVICE.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        module.training_step(batch, number).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    yield {"waits_in_a_step": 0}


def program(*arguments: str) -> Callable[[bool], Rows]:
    """A part that is a program of its own; what it prints is kept."""

    def part(toy: bool) -> Rows:
        subprocess.run([sys.executable, *arguments], check=True)
        yield {"command": " ".join(arguments)}

    return part


def steps(toy: bool, batch_size: int) -> Rows:
    """``benchmarks/step.py``: ours beside others as they are and tuned."""
    parts = ["norm"] if toy else ["steps", "tuned", "roof"]
    size, output = 2 if toy else batch_size, f"step_{batch_size}.json"
    command = [str(HERE / "step.py"), "--batch-size", str(size), "--rounds", "1" if toy else "3"]
    yield from program(*command, "--output", output, "--parts", *parts)(toy)


def training(toy: bool, performance: str) -> Rows:
    """The whole command: images per second of every epoch."""
    run, on = Path(f"run_{performance}"), "gpu" if DEVICE.type == "cuda" else "cpu"
    few = [f"trainer.limit_{part}_batches=2" for part in ("val", "test")]
    if toy:
        few += ["trainer.limit_train_batches=2", "model.width=0.1", "data.batch_size=8"]
    command = ["-m", "alexnet_repro.train", f"trainer={on}", f"performance={performance}", *few]
    yield from program(*command, "schedule.epochs=2", f"hydra.run.dir={run}", "overwrite=true")(toy)
    record = json.loads((run / "result.json").read_text())
    yield {"images_per_second": [epoch["images_per_second"] for epoch in record["curve"]]}


PARTS: dict[str, tuple[int, Callable[[bool], Rows]]] = {
    "equal": (60, equal),
    "norms": (60, norms),
    "waits": (20, waits),
    "tests": (
        60,
        program("-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", str(ROOT / "tests")),
    ),
    "steps_128": (90, partial(steps, batch_size=128)),
    "steps_1024": (70, partial(steps, batch_size=1024)),
    "exact": (40, partial(training, performance="exact")),
    "fast": (40, partial(training, performance="fast")),
    "fastest": (40, partial(training, performance="fastest")),
}
"""The seconds that each part may take, and what it does: 480 together."""


def check(parts: list[str], output: Path, toy: bool) -> bool:
    """Run parts one after the other → whether all went well."""
    output.mkdir(parents=True, exist_ok=True)
    well = True
    for name in parts:
        started, found = time.perf_counter(), output / f"{name}.json"
        command = [sys.executable, str(Path(__file__).resolve()), "--part", name]
        command += ["--toy"] if toy else []
        with suppress(OSError):
            found.unlink()  # of an earlier check
        with (output / f"{name}.log").open("w") as log, suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command,
                cwd=output,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=None if toy else PARTS[name][0],
            )
        well = well and found.is_file()
        lines = (output / f"{name}.log").read_text().splitlines() or [""]
        taken, how = time.perf_counter() - started, "done" if found.is_file() else "FAILED"
        print(f"{name}: {how} in {taken:.0f} s; {lines[-1]}", flush=True)
    return well


def part(name: str, toy: bool) -> None:
    """Run one part in this process, and write what it finds to the working folder."""
    rows = []
    for row in PARTS[name][1](toy):
        print(*(f"{key}={value}" for key, value in row.items()), flush=True)
        rows.append(row)
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "CPU"
    record = {"part": name, "device": device, "toy": toy, **provenance("", []), "rows": rows}
    write_json(Path(f"{name}.json"), record)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--output", type=Path, default="runs/benchmark/device_check")
    parser.add_argument("--toy", action="store_true", help="all of it in small, on a CPU too")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        part(given.part, given.toy)
    else:
        sys.exit(not check(given.parts, given.output, given.toy))
