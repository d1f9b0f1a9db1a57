"""What the configuration files compose to, and which values are refused."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hydra.types import RunMode

from alexnet_repro.base.build import build
from alexnet_repro.base.checkpoints import find_checkpoint
from alexnet_repro.base.config import CONF, run_directory, sweep_name
from alexnet_repro.base.errors import UsageError

from .recorded import ABSENT, configuration, difference, flat, recorded

CHANGES: dict[str, dict[str, Any]] = {
    "alexnet": {},
    "ablation_no_lrn": {"model.response_norm": None},
    "ablation_nonoverlapping_pooling": {"model.pool": "nonoverlapping"},
    "ablation_no_dropout": {"model.dropout": 0.0},
    "ablation_one_gpu": {"model.columns": 1},
    "ablation_remove_conv2": {"model.removed_conv": 2},
    "ablation_remove_conv3": {"model.removed_conv": 3},
    "ablation_remove_conv4": {"model.removed_conv": 4},
    "ablation_remove_conv5": {"model.removed_conv": 5},
    "ablation_tanh": {"model.activation": "tanh"},
    "ablation_no_colour_pca": {"augment.colour_pca": 0.0},
    "ablation_no_crops": {"augment.random_crop": False, "augment.reflection": False},
    "ablation_no_weight_decay": {"optimizer.weight_decay": 0.0},
    "six_conv": {"model.sixth_conv": True},
    "imagenet_fall2009": {
        "model.sixth_conv": True,
        "init_layers": ["conv1", "conv2", "conv3", "conv4", "conv5"],
    },
    "pretrain_fall2011": {
        "model.sixth_conv": True,
        "init_layers": ["conv1", "conv2", "conv3", "conv4", "conv5", "conv6"],
    },
}
"""Every experiment that is the baseline with one thing changed, and that thing."""

NORM = {"n": 5, "k": 2.0, "alpha": 1e-4, "beta": 0.75, "divide_alpha_by_n": False}
WITHIN_MAP = {"size": 3, "scale": 5e-5, "beta": 0.75}
CIFAR: dict[str, tuple[str, dict[str, Any]]] = {
    "cifar_18": ("cifar_18", {}),
    "cifar_13": ("cifar_13", {}),
    "cifar_13_response_norm": ("cifar_13", {"response_norm": NORM}),
    "cifar_13_response_norm_k1": ("cifar_13", {"response_norm": NORM | {"k": 1.0}}),
    "cifar_13_within_map_norm": ("cifar_13", {"within_map_norm": WITHIN_MAP}),
    "relu_speed": ("relu_speed", {}),
    "relu_speed_tanh": ("relu_speed", {"activation": "tanh"}),
}
"""The experiments on CIFAR-10: each with the one that it varies, and what of the model."""

SOURCE2012: dict[str, Any] = {
    "model.response_norm.divide_alpha_by_n": True,
    "model.norm_before_relu_in_conv1": True,
    "model.within_map_norm_in_conv2": True,
    "model.weight_std.conv3": 0.03,
    "model.weight_std.conv4": 0.03,
    "model.weight_std.conv5": 0.03,
    "model.weight_std.conv6": 0.03,
    "augment.crop_chunk": 32,
    "augment.mean_crop": "centre",
    "augment.colour_magnitude": "standard_deviation",
    "augment.colour_divisor": 1.1,
    "optimizer.bias_lr": 0.02,
    "optimizer.bias_weight_decay": False,
}
"""The rows of the table of differences between the paper's text and the 2012 program."""


@pytest.fixture(scope="module")
def baseline() -> dict[str, Any]:
    return recorded()


FROZEN: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text())
"""Every experiment, and what differs in it from the paper's own, before defaults stood in code."""
LATER = {
    "data.seed": 0,
    "model.norm_after_pool": False,
    "trainer.enable_model_summary": False,
    "trainer.num_sanity_val_steps": 0,
    "overwrite": False,
    "resume_with": None,
    "model.batch_norm": False,
    "augment.resized_crop": None,
    "augment.mixup": 0.0,
    "augment.label_smoothing": 0.0,
}
"""Keys that records did not name then, with what they were all the same."""
PLACES = ("logger", "callbacks.", "strategy.")


def frozen(values: dict[str, Any]) -> dict[str, Any]:
    """What is measured, of the values of all keys, under the names of then."""
    return {
        key: value
        for key, value in flat(values).items()
        if not key.startswith(PLACES) and LATER.get(key, ABSENT) != value
    }


@pytest.mark.parametrize("arguments", FROZEN)
def test_what_an_experiment_measures_does_not_change(arguments: str) -> None:
    here = "data.cache_dir='~/.cache/alexnet_repro'"
    paper = FROZEN["experiment=alexnet"]
    assert frozen(recorded("experiment=alexnet", here)) == paper
    changed = difference(paper, frozen(recorded(*arguments.split(), here)))
    assert changed == (FROZEN[arguments] if arguments != "experiment=alexnet" else {})


def test_every_experiment_file_is_listed_here() -> None:
    files = {path.stem for path in (CONF / "experiment").glob("*.yaml")}
    files -= {
        name for name in files if name.startswith("then_and_now_")
    }  # tests/commands has these
    others = {"alexnet_source2012", "demo", "evidence", "finetune", "small", "torchvision_alexnet"}
    assert files == CHANGES.keys() | CIFAR.keys() | others
    named = {arguments.partition(" ")[0].removeprefix("experiment=") for arguments in FROZEN}
    assert files <= named


@pytest.mark.parametrize("experiment", CHANGES)
def test_an_experiment_changes_exactly_one_thing(experiment: str, baseline: dict[str, Any]) -> None:
    expected = dict(CHANGES[experiment])
    if experiment == "ablation_no_lrn":
        norm = flat(baseline["model"]["response_norm"])
        expected |= {f"model.response_norm.{key}": ABSENT for key in norm}
    expected |= {"run_name": experiment} if experiment != "alexnet" else {}
    assert difference(baseline, recorded(f"experiment={experiment}")) == expected


@pytest.mark.parametrize("experiment", CIFAR)
def test_a_variant_on_cifar10_changes_one_thing_of_its_network(experiment: str) -> None:
    base, change = CIFAR[experiment]
    one, other = (recorded(f"experiment={name}") for name in (base, experiment))
    assert other["model"] == one["model"] | change
    # Of Fig. 1: "The learning rates for each network were chosen independently".
    allowed = {"run_name", "optimizer.lr", "schedule.epochs", "trainer.max_epochs"}
    changed = difference(one, other)
    assert {k for k in changed if not k.startswith("model.")} <= allowed


def test_the_13_percent_network_follows_the_notes_of_the_program() -> None:
    values = recorded("experiment=cifar_13")
    assert (values["data"]["crop_size"], values["data"]["input_size"]) == (24, 24)
    assert values["augment"]["random_crop"]
    assert values["augment"]["reflection"]
    assert values["augment"]["colour_pca"] == 0
    optimizer = values["optimizer"]
    assert optimizer["weight_decay"] == {"conv1": 0, "conv2": 0, "others": 0.004}
    assert (optimizer["lr"], optimizer["bias_lr"]) == (0.001, 0.002)
    assert not optimizer["bias_weight_decay"]


def test_the_network_of_figure_1_is_not_regularized() -> None:
    for experiment in ("relu_speed", "relu_speed_tanh"):
        values = recorded(f"experiment={experiment}")
        assert values["optimizer"]["weight_decay"] == 0
        assert not values["augment"]["random_crop"]
        assert not values["augment"]["reflection"]
        assert values["model"]["within_map_norm"] is values["model"]["response_norm"] is None
        assert values["schedule"]["changes"] == []


@pytest.mark.parametrize("choice", ["recipe=source2012", "experiment=alexnet_source2012"])
def test_source2012_is_every_row_of_the_table_and_its_schedule(
    choice: str, baseline: dict[str, Any]
) -> None:
    changed = difference(baseline, recorded(choice))
    changed = {key: value for key, value in changed.items() if key != "run_name"}
    schedule = {key for key in changed if key.startswith("schedule.")}
    assert {key: changed[key] for key in changed.keys() - schedule} == SOURCE2012 | {
        "trainer.max_epochs": 91
    }
    assert changed["schedule._target_"] == "alexnet_repro.EpochSchedule"
    assert [change["epoch"] for change in changed["schedule.changes"]] == [25, 51, 67, 72, 79]


def test_cnn_star_is_the_six_conv_net_from_given_weights_on_a_schedule_of_its_own(
    baseline: dict[str, Any],
) -> None:
    changed = difference(baseline, recorded("experiment=finetune", "init_from=pretrained.ckpt"))
    changed = {key: value for key, value in changed.items() if not key.startswith("schedule.")}
    assert changed == {
        "run_name": "finetune",
        "model.sixth_conv": True,
        "init_from": "pretrained.ckpt",
        "trainer.max_epochs": 54,
    }
    with pytest.raises(UsageError, match="needs weights to start from; add init_from=PATH"):
        recorded("experiment=finetune")


def test_torchvision_alexnet_is_another_network_and_nothing_else(
    baseline: dict[str, Any],
) -> None:
    changed = difference(baseline, recorded("experiment=torchvision_alexnet"))
    changed = {key: value for key, value in changed.items() if value != ABSENT}
    assert changed == {
        "run_name": "torchvision_alexnet",
        "model._target_": "alexnet_repro.TorchvisionAlexNet",
        "model.columns": 1,
    }
    alone = difference(baseline, recorded("model=torchvision_alexnet"))
    assert {key: value for key, value in alone.items() if value != ABSENT} == {
        key: value for key, value in changed.items() if key != "run_name"
    }


def test_caffe_is_a_network_and_a_recipe(baseline: dict[str, Any]) -> None:
    bvlc = recorded("model=bvlc_alexnet", "recipe=caffe")
    changed = difference(baseline, bvlc)
    assert {key: value for key, value in changed.items() if "response_norm" in key} == {
        "model.response_norm.k": 1.0,
        "model.response_norm.columns": 1,
        "model.response_norm.divide_alpha_by_n": True,
    }
    assert changed["augment.colour_pca"] == 0
    caffenet = recorded("model=caffenet", "recipe=caffe")
    assert difference(bvlc, caffenet) == {"model.norm_after_pool": True}
    with pytest.raises(UsageError, match=r"model: .*norm_before_relu_in_conv1 exclude each other"):
        recorded("model=caffenet", "recipe=source2012")
    with pytest.raises(UsageError, match=r"model\.response_norm\.columns=1: .* two devices cannot"):
        recorded("model=bvlc_alexnet", "recipe=caffe", "trainer=two_cpu")


def test_the_schedule_of_a_recipe_can_be_chosen_apart_from_it(baseline: dict[str, Any]) -> None:
    changed = difference(baseline, recorded("recipe=source2012", "schedule=plateau"))
    assert changed == SOURCE2012


def test_the_baseline_is_the_paper(baseline: dict[str, Any]) -> None:
    assert baseline["data"]["batch_size"] == 128
    assert baseline["optimizer"]["lr"] == 0.01
    assert baseline["optimizer"]["momentum"] == 0.9
    assert baseline["optimizer"]["weight_decay"] == 0.0005
    assert baseline["model"]["response_norm"] == {
        "n": 5, "k": 2.0, "alpha": 1e-4, "beta": 0.75, "divide_alpha_by_n": False,
    }  # fmt: skip
    assert set(baseline["model"]["weight_std"].values()) == {0.01}
    ones = {layer for layer, value in baseline["model"]["bias"].items() if value == 1}
    assert ones == {"conv2", "conv4", "conv5", "conv6", "fc6", "fc7"}
    assert baseline["augment"]["colour_pca"] == 0.1
    assert baseline["schedule"]["divisions"] == 3
    assert baseline["trainer"]["max_epochs"] == 90


def test_experiments_combine() -> None:
    values = recorded("experiment=[demo,ablation_no_lrn]")
    assert values["run_name"] == "demo+ablation_no_lrn"
    assert values["model"]["response_norm"] is None
    assert values["model"]["width"] == 0.25


def test_the_small_settings_change_no_more_than_size_start_and_schedule(
    baseline: dict[str, Any],
) -> None:
    changed = difference(baseline, recorded("experiment=small"))
    parts = {
        key
        for key in changed
        if not key.startswith(("schedule.", "model.weight_std.", "model.bias."))
    }
    assert parts == {
        "data.batch_size",
        "model.width",
        "optimizer.lr",
        "optimizer.lr.conv1",
        "optimizer.lr.others",
        "run_name",
        "trainer.max_epochs",
    }


@pytest.mark.parametrize("experiment", ["small", "demo"])
def test_another_optimizer_comes_with_its_own_rate(experiment: str) -> None:
    optimizer = recorded(f"experiment={experiment}", "optimizer=adamw")["optimizer"]
    assert (optimizer["_target_"], optimizer["lr"]) == ("torch.optim.AdamW", 3e-4)


@pytest.mark.parametrize("experiment", [name for name in CHANGES if "ablation" in name])
def test_an_ablation_changes_the_same_in_the_small_settings(experiment: str) -> None:
    small = recorded("experiment=[small,alexnet]")
    alone = difference(recorded(), recorded(f"experiment={experiment}"))
    both = difference(small, recorded(f"experiment=[small,{experiment}]"))
    assert both.pop("run_name") == f"small+{alone.pop('run_name')}"
    assert both == alone


GROUPS = re.findall(r"^  - (?:override )?(\w+): ", (CONF / "train.yaml").read_text(), re.MULTILINE)


NEEDED = {
    ("experiment", "finetune"): ["init_from=a.ckpt"],
    ("recipe", "cifar"): ["model=cifar_18"],
    ("strategy", "columns"): ["trainer=two_cpu"],
    ("strategy", "ddp"): ["trainer=ddp_cpu"],
    ("callbacks", "lr_monitor"): ["logger=csv"],
    ("callbacks", "throughput"): ["logger=csv"],
    ("callbacks", "device_stats"): ["logger=csv"],
    ("data", "own_source"): ["data.source._target_=alexnet_repro.data.sources.folder"],
    ("data", "own_module"): ["data._target_=lightning.LightningDataModule"],
}
"""What a choice cannot do without."""


def with_places(*overrides: str) -> dict[str, Any]:
    """The recorded values; a place that has no default is ``here``."""
    try:
        return recorded(*overrides)
    except UsageError as error:
        missing, told, _ = str(error).partition(" has no default: add ")
        if not told:
            raise
        return with_places(*overrides, f"{missing}=here")


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_of_every_group_is_valid(group: str) -> None:
    choices = [path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "base"]
    assert choices
    for choice in choices:
        with_places(f"{group}={choice}", *NEEDED.get((group, choice), ()))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.removed_conv=1", "model.removed_conv=1: conv1 cannot be removed, since its stride"),
        ("model.removed_conv=6", "model.removed_conv=6: input should be 2, 3, 4 or 5"),
        ("model.columns=3", "model.columns=3: input should be 1 or 2"),
        ("model.activation=gelu", "model.activation=gelu: input should be 'relu' or 'tanh'"),
        ("model.dropout=1.5", "model.dropout=1.5: input should be less than 1"),
        ("model.dropout=much", "model.dropout=much: input should be a valid number"),
        ("model.width=0", "model.width=0: input should be greater than 0"),
        ("model.response_norm.k=0", "model.response_norm.k=0: input should be greater than 0"),
        ("optimizer.lr=nan", "optimizer.lr=nan: input should be a finite number"),
        ("optimizer.lr=-1", "optimizer.lr=-1: input should be greater than or equal to 0"),
        ("data.batch_size=1.5", "data.batch_size=1.5: input should be a valid integer"),
        ("data.crop_size=300", "data.crop_size=300: stored images have only data.image_size=256"),
        ("schedule.factor=2", "schedule.factor=2: input should be less than 1"),
        ("schedule.epochs=0", "schedule.epochs=0: input should be greater than or equal to 1"),
        ("trainer.precision=8", "trainer.precision=8: input should be 64, 32 or 16, or "),
        ("seed=-1", "seed=-1: input should be greater than or equal to 0"),
        ("+augment.cutout=1", "augment.cutout: there is no such key"),
        ("augment.resized_crop=0.25", "resized_crop: crops of any size have one mean; add"),
        ("data=prepared", "data=prepared: add data.directory="),
        ("data=folder", "data.source.root has no default: add data.source.root="),
    ],
)
def test_a_wrong_value_is_refused_naming_its_key(override: str, message: str) -> None:
    def built() -> None:
        checked = configuration(override)
        build(checked.data, "data", **checked.data_options)

    with pytest.raises(UsageError) as refused:
        built()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer=two_cpu", "model.columns=1"],
            "model: ColumnPipelineStrategy trains one AlexNet with",
        ),
        (
            ["trainer=two_cpu", "trainer.devices=3"],
            "trainer.devices=3: every column needs",
        ),
        (
            ["trainer=two_cpu", "strategy.micro_batches=3"],
            "strategy.micro_batches=3: does not",
        ),
        (
            ["trainer=two_cpu", "trainer.precision=16-mixed"],
            "trainer.precision=16-mixed: the",
        ),
        (["trainer=columns_ddp", "data.batch_size=130"], "data.batch_size=130: 4 replicas cannot"),
        (["trainer=two_cpu", "strategy.backend=nccl"], "strategy.backend=nccl: it is for GPUs"),
        (["trainer=two_cpu", "performance=fastest"], "performance=fastest: columns cannot"),
        (["strategy.micro_batches=2"], "strategy.micro_batches=2: this trainer has the whole"),
        (
            ["trainer.accumulate_grad_batches=0"],
            "trainer.accumulate_grad_batches=0: input should be greater",
        ),
        (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val=-1: input should be gr"),
        (["data.image_size=5000"], "data.image_size=5000: input should be less than"),
        (["strategy=columns"], "trainer.devices=1: every column needs a device"),
        (["trainer=two_cpu", "strategy.timeout=0"], "strategy.timeout=0: input should be greater"),
        (["trainer.devices=2"], "trainer.devices=2, trainer.num_nodes=1: this trainer takes one"),
        (
            ["trainer.max_epochs=3"],
            "trainer.max_epochs=3: the length of training is schedule.epochs (90)",
        ),
        (["schedule=step", "schedule.monitor=val/foo"], "schedule.monitor=val/foo: torch.optim"),
        (
            ["schedule=constant", "schedule._target_=torch.optim.lr_scheduler.LinearLR"],
            "schedule.changes: there is no such key; schedule=plateau leaves only epochs",
        ),
        (
            ["schedule=step", "schedule.epoch=3"],
            "schedule.epoch: there is no such key; did you mean schedule.epochs?",
        ),
        (["optimizer._target_=torch.optim.Muon"], "optimizer: torch.optim.Muon: Muon only"),
        (["logger.wandb.tags=[a]"], "logger.wandb: there is none; add logger=wandb"),
        (["callbacks.swa.lr=1"], "callbacks.swa: there is none; add callbacks=swa"),
        (
            ["data._target_=lightning.LightningDataModule"],
            "data._target_=lightning.LightningDataModule: add data=own_module",
        ),
    ],
)
def test_an_impossible_combination_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        recorded(*overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_last_is_the_newest_checkpoint_of_that_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for age, run in enumerate(("alexnet/newest", "alexnet/older", "other/newer")):
        path = tmp_path / "runs" / run / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    assert find_checkpoint("last", "runs/alexnet").parts[-3] == "newest"
    assert find_checkpoint("runs/alexnet/older", "runs/alexnet").parts[-3] == "older"
    path.with_name("before_last.ckpt").touch()
    newest = tmp_path / "runs" / "alexnet" / "newest" / "checkpoints"
    (newest / "before_last.ckpt").hardlink_to(newest / "last.ckpt")
    assert find_checkpoint("last", "runs/alexnet").name == "last.ckpt"
    (newest / "last.ckpt").rename(newest / "gone")
    assert find_checkpoint("last", "runs/alexnet").name == "before_last.ckpt"
    (newest / "gone").rename(newest / "last.ckpt")
    assert run_directory("last", "alexnet", "now") == "runs/alexnet/newest"
    assert run_directory(None, "alexnet", "now") == "runs/alexnet/now"
    with pytest.raises(UsageError, match="there is no folder runs/demo here"):
        find_checkpoint("last", "runs/demo")


def test_the_jobs_of_a_sweep_share_its_name_and_a_single_run_has_none(tmp_path: Path) -> None:
    job = tmp_path / "ablations" / "3_alexnet_seed0"
    assert sweep_name(RunMode.MULTIRUN, str(job)) == "ablations"
    assert sweep_name(RunMode.RUN, str(job)) is None
    # As the processes of a job's columns see it.
    job.parent.mkdir()
    (job.parent / "multirun.yaml").touch()
    assert sweep_name(RunMode.RUN, str(job)) == "ablations"
    assert recorded("logger=wandb")["logger"]["wandb"]["group"] is None


def test_jobs_on_a_cluster_go_on_after_a_requeue() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert recorded("launcher=slurm")["skip_finished"] is True
    assert recorded()["skip_finished"] is False
