"""``python -m alexnet_repro.evaluate``: what it prints, what it writes, how it fails."""

import functools
import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet_repro.base.config import with_list
from tests.forks import Forks

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def evaluate(command: Command, tiny_images: Path) -> Command:
    data = ["data=folder", f"data.source.root={tiny_images}", "data.batch_size=8"]
    return functools.partial(command, "evaluate", *data)


def test_paths_with_a_comma_between_them_are_an_ensemble(
    evaluate: Command, tiny_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "epoch=1 b.ckpt").write_bytes((tiny_run / "checkpoints/last.ckpt").read_bytes())
    done = evaluate(f"checkpoint={tiny_run}/checkpoints/last.ckpt,epoch=1 b.ckpt")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "folder, test, 9 images of 3 classes" in done.stdout
    assert "ensemble: 2 alexnet" in done.stdout
    (path,) = (tmp_path / "runs" / "evaluate").glob("*/evaluation.json")
    assert f"written to {path.relative_to(tmp_path)}" in done.stdout
    record = json.loads(path.read_text())
    assert [member["path"] for member in record["checkpoints"]][1] == "epoch=1 b.ckpt"
    row = record["errors"]["ten"]
    assert f"{row['top1']:.2f} (" in done.stdout


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_killed_it_leaves_no_half_record_and_the_same_command_measures_all_of_it(
    evaluate: Command, forks: Forks, tiny_run: Path, tmp_path: Path, tiny_images: Path
) -> None:
    data = ["data=folder", f"data.source.root={tiny_images}", "data.batch_size=1"]
    arguments = [f"checkpoint={tiny_run}/checkpoints/last.ckpt", "output=record.json"]
    killed = forks.start("-m", "alexnet_repro.evaluate", *data, *arguments, cwd=tmp_path)
    mapped = Path(f"/proc/{killed.pid}/maps")
    # The images are read from a shard that stays mapped until the last one is measured.
    while killed.poll() is None and ".arrow" not in mapped.read_text():
        time.sleep(0.002)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert list(tmp_path.rglob("*.json")) == []
    done = evaluate(*arguments)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "record.json").read_text())
    trained = json.loads((tiny_run / "result.json").read_text())
    for crops, figures in record["errors"].items():
        assert figures["top1"] == pytest.approx(trained["errors"][crops]["top1"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "checkpoint has no default: add checkpoint=… to the command"),
        (["checkpoint=none.ckpt"], "none.ckpt: there is no such checkpoint"),
        (["checkpoint=[]"], "checkpoint is empty"),
        (["checkpoint=x", "split=train"], "split=train: input should be 'val' or 'test'"),
        (["checkpoint=x", "crops=five"], "crops=five: input should be 'centre' or 'ten'"),
    ],
)
def test_a_mistake_is_one_line(evaluate: Command, arguments: list[str], told: str) -> None:
    done = evaluate(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_sweep_over_checkpoints_stays_one() -> None:
    assert with_list("checkpoint=a,b", ["checkpoint"]) == "checkpoint=['a','b']"
    assert with_list("checkpoint=it's", ["checkpoint"]) == "checkpoint=['it\\'s']"
    for untouched in ("checkpoint=[a,b]", "seed=1,2", "-m", "checkpoint='a,b'"):
        assert with_list(untouched, ["checkpoint"]) == untouched


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("performance", ["exact", "tf32", "fast", "fastest"])
def test_what_a_gpu_trains_is_measured_alike_on_it_and_on_a_cpu(
    command: Command, evaluate: Command, tiny: list[str], tmp_path: Path, performance: str
) -> None:
    there = ["trainer=gpu", f"performance={performance}", "schedule.epochs=2", "hydra.run.dir=run"]
    done = command("train", *tiny, *there)
    assert done.returncode == 0, done.stderr
    trained = json.loads((tmp_path / "run" / "result.json").read_text())["errors"]
    for device in ("gpu", "cpu"):
        given = ["checkpoint=run", f"performance={performance}", f"device={device}"]
        done = evaluate(*given, f"output={device}.json")
        assert done.returncode == 0, done.stderr
        measured = json.loads((tmp_path / f"{device}.json").read_text())["errors"]
        for crops, figures in trained.items():
            loss = figures["negative_log_likelihood"]
            assert measured[crops]["negative_log_likelihood"] == pytest.approx(loss, rel=0.02)
