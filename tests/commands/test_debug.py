"""``debug=…`` as users of Lightning's template know it, and other arguments of the Trainer."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

TrainTiny = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.long


def test_fdr_runs_one_batch_of_each_kind_and_leaves_no_record(
    train_tiny: TrainTiny, tmp_path: Path
) -> None:
    done = train_tiny("debug=fdr", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "trainer.fast_dev_run succeeded; no record is written" in done.stdout
    assert not (tmp_path / "result.json").exists()
    assert not (tmp_path / "checkpoints").exists()


def test_limit_and_profiler_end_with_a_record_and_a_table(
    train_tiny: TrainTiny, tmp_path: Path
) -> None:
    done = train_tiny("debug=limit", "trainer.profiler=simple", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "result.json").read_text())["epochs"] == 2
    assert done.stdout.count("Profiler Report") == 1


def test_what_lightning_refuses_later_is_one_line_too(
    train_tiny: TrainTiny, tmp_path: Path
) -> None:
    done = train_tiny("trainer.limit_val_batches=0.05", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 2
    assert "error: trainer: You requested to check 0.05 of the `val_dataloader`" in done.stderr


def test_a_step_on_several_batches_goes_on_in_the_middle_of_an_epoch(
    train_tiny: TrainTiny, tmp_path: Path
) -> None:
    options = ["trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1"]
    options += ["data.batch_size=2", "schedule.epochs=2", "checkpoint_every_n_steps=1"]
    runs = {name: tmp_path / name for name in ("whole", "part")}
    last = runs["part"] / "checkpoints" / "last.ckpt"
    train_tiny(*options, f"hydra.run.dir={runs['whole']}")
    train_tiny(*options, "trainer.max_steps=3", f"hydra.run.dir={runs['part']}")
    train_tiny(*options, f"resume={last}", f"hydra.run.dir={runs['part']}")
    one, other = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in runs.values()
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_weights_of_another_precision_read_images_of_it(
    precision: str, train_tiny: TrainTiny, tmp_path: Path
) -> None:
    done = train_tiny(f"trainer.precision={precision}", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert saved["network.conv1.weight"].dtype is getattr(
        torch, {"bf16-true": "bfloat16", "64-true": "float64"}[precision]
    )


def test_what_a_mistake_ends_is_as_it_was(train_tiny: TrainTiny, tmp_path: Path) -> None:
    train_tiny("schedule.epochs=1", f"hydra.run.dir={tmp_path}")
    files = ("run.json", "config.yaml", "result.json")
    before = {name: (tmp_path / name).read_bytes() for name in files}
    more = ("optimizer=adamw", "schedule.epochs=2", f"hydra.run.dir={tmp_path}")
    done = train_tiny(f"resume={tmp_path}/checkpoints/last.ckpt", *more)
    assert done.returncode == 2
    assert "optimizer._target_ alexnet_repro.paper_sgd → torch.optim.AdamW" in done.stderr
    assert {name: (tmp_path / name).read_bytes() for name in files} == before
