"""Claims are measured by what runs were, compared only like with like, and judged frankly."""

import copy
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from alexnet_repro.base.config import CONF
from alexnet_repro.base.errors import UsageError
from alexnet_repro.results import claims
from alexnet_repro.results.claims import Archive, Finding, read_claims
from alexnet_repro.results.conditions import Experiments, settings
from alexnet_repro.results.intervals import mean
from alexnet_repro.results.plots import forest_rows
from alexnet_repro.results.records import read_records
from tests.typed import check_typed

from .pages import trained, written

Config = Callable[[str], dict[str, Any]]
Find = Callable[..., Finding]

A_GPU_EACH = {"columns_per_process": 1, "replicas": 1}
CLAIMS = read_claims()


@pytest.fixture
def find(tmp_path: Path, experiments: Experiments) -> Find:
    """What records say of a claim."""

    def judge(claim: str, *records: dict[str, Any], kind: str = "result") -> Finding:
        read, left_out = read_records(written(tmp_path, *records, kind=kind))
        assert not left_out
        archive = Archive(read, experiments)
        return archive.find(CLAIMS[claim])

    return judge


def test_every_claim_of_the_paper_is_in_the_report() -> None:
    """The identifiers of the list of claims with figures, in its order."""
    ids = (
        "relu-speed two-gpu two-gpu-time lrn lrn-cifar overlap-pool colour-pca crops dropout "
        "weight-decay depth ten-crop table-1 table-2 fall-2009 kernels retrieval codes"
    )
    found = [re.sub("^table-2-.*", "table-2", name.replace("_", "-")) for name in CLAIMS]
    assert list(dict.fromkeys(found)) == ids.split()


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_command_that_would_measure_a_claim_is_one_that_exists(claim: str) -> None:
    for command in CLAIMS[claim].commands:
        python, m, module, *arguments = shlex.split(command)
        assert (python, m) == ("python", "-m")
        one = [re.sub(r"^(experiment|seed)=([^,]*),.*", r"\1=\2", a) for a in arguments]
        check_typed([module.removeprefix("alexnet_repro."), *one])


def test_a_difference_is_paired_by_seed_and_has_students_interval(
    find: Find, config_of: Config
) -> None:
    whole, without = {1: 37.2, 2: 37.9, 3: 37.5}, {1: 38.7, 2: 39.0, 3: 39.1, 4: 60.0}
    found = find(
        "lrn",
        *(trained(config_of("alexnet"), top1, seed=s) for s, top1 in whole.items()),
        *(trained(config_of("ablation_no_lrn"), top1, 21.2, seed=s) for s, top1 in without.items()),
    )
    top1, top5 = found.measured
    differences = [whole[s] - without[s] for s in (1, 2, 3)]
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert top1.mean.value == pytest.approx(np.mean(differences))
    assert top1.mean.interval == pytest.approx((expected.low, expected.high))
    assert top1.others == (38.7, 39.0, 39.1), "what has no pair is not compared"
    assert len(top1.records) == 6
    assert top5.mean.value == pytest.approx(-1.2)
    assert (found.what, found.where) == ("confirmed", "the paper’s data")


def test_without_equal_seeds_the_interval_is_welchs(find: Find, config_of: Config) -> None:
    one, other = [37.2, 37.9, 37.5], [38.7, 39.0, 39.9]
    found = find(
        "lrn",
        *(trained(config_of("alexnet"), x, seed=s) for s, x in enumerate(one)),
        *(trained(config_of("ablation_no_lrn"), x, seed=10 + s) for s, x in enumerate(other)),
    )
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    mean = found.measured[0].mean
    assert not mean.paired
    assert mean.interval == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([-1.4], "not resolved: one seed"),
        ([-1.3, -1.5, -1.4], "confirmed: "),
        ([1.0, 1.1, 0.9], "opposite: "),
        ([-4.0, 1.2, -1.4], "not resolved: 8.5 points"),
    ],
)
def test_the_verdict_is_the_direction_that_the_interval_leaves(
    find: Find, config_of: Config, differences: list[float], verdict: str
) -> None:
    records = []
    for seed, difference in enumerate(differences):
        records += [
            trained(config_of("alexnet"), 37.5, 17.0, seed=seed),
            trained(config_of("ablation_no_lrn"), 37.5 - difference, 18.2, seed=seed),
        ]
    found = find("lrn", *records)
    top1 = found.verdicts[0]
    assert f"{top1.what}: {top1.why}{top1.least}" == verdict
    assert found.what == verdict.partition(":")[0]
    assert (found.measured[0].mean.interval is None) == (len(differences) == 1)


@pytest.mark.parametrize(
    "change",
    [
        {"data__batch_size": 32},
        {"schedule__epochs": 14},
        {"model__width": 0.25},
        {"trainer__precision": "bf16-mixed"},
        {"optimizer__lr": 0.02},
    ],
)
def test_runs_with_other_settings_are_not_compared(
    find: Find, config_of: Config, change: dict[str, Any]
) -> None:
    baseline = trained(config_of("alexnet"), 37.5)
    found = find("lrn", baseline, trained(config_of("ablation_no_lrn"), 39.0, **change))
    assert found.what == "not measured"


def test_runs_with_the_same_other_settings_are_and_it_is_said(
    find: Find, config_of: Config
) -> None:
    change = {"data__batch_size": 32, "schedule__epochs": 14}
    found = find(
        "lrn",
        trained(config_of("alexnet"), 37.5, **change),
        trained(config_of("ablation_no_lrn"), 39.0, **change),
    )
    assert found.where == "other settings"


@pytest.mark.parametrize("place", [{"dataset": "imagenette"}, {"split": "val"}])
def test_other_images_are_another_dataset(
    find: Find, config_of: Config, place: dict[str, str]
) -> None:
    found = find("table_1", trained(config_of("alexnet"), 37.5, 17.0, **place))
    assert (found.what, found.where) == ("no verdict", "other photographs")


def test_the_papers_own_data_come_first(find: Find, config_of: Config) -> None:
    found = find(
        "table_1",
        trained(config_of("alexnet"), 10.0, 1.0, dataset="imagenette"),
        trained(config_of("alexnet"), 37.9, 17.2),
        trained(config_of("alexnet"), 9.0, 1.0, dataset="imagenette", seed=2),
    )
    assert found.what == "confirmed"
    assert found.measured[0].mean.value == 37.9
    assert [record.name for record in found.measured[0].records] == ["run1/result.json"]


def test_of_two_runs_of_one_seed_the_newest_counts(find: Find, config_of: Config) -> None:
    old, new = trained(config_of("alexnet"), 50.0), trained(config_of("alexnet"), 37.5, 17.0)
    old["date"] = "2025-01-01T00:00:00+00:00"
    assert find("table_1", new, old).measured[0].mean.values == (37.5,)


@pytest.mark.parametrize(
    "experiment",
    [
        "alexnet",
        "ablation_no_lrn",
        "ablation_one_gpu",
        "ablation_no_crops",
        "six_conv",
        "imagenet_fall2009",
        "pretrain_fall2011",
        "finetune",
        "alexnet_source2012",
        "torchvision_alexnet",
        "relu_speed",
        "relu_speed_tanh",
        "cifar_18",
        "cifar_13",
        "cifar_13_response_norm",
        "cifar_13_response_norm_k1",
        "cifar_13_within_map_norm",
    ],
)
def test_an_experiment_is_known_by_what_the_run_was_told(
    config_of: Config, experiments: Experiments, experiment: str
) -> None:
    assert experiments.experiment(trained(config_of(experiment), 40)) == experiment


@pytest.mark.parametrize(
    "experiment", ["finetune", "imagenet_fall2009", "alexnet_source2012", "relu_speed"]
)
def test_an_experiment_as_long_as_its_file_says_is_the_papers(
    config_of: Config, experiments: Experiments, experiment: str
) -> None:
    run = trained(config_of(experiment), 40)
    assert experiments.conditions(run, experiment) == {}
    longer = trained(config_of(experiment), 40, schedule__epochs=100)
    assert experiments.conditions(longer, experiment)["schedule.epochs"] == 100


def test_relus_are_as_many_times_as_fast_as_tanh_takes_epochs(
    find: Find, config_of: Config
) -> None:
    def run(experiment: str, seed: int, epochs: int) -> dict[str, Any]:
        record = trained(config_of(experiment), 25, seed=seed, dataset="cifar10")
        rows = range(1, epochs + 1)
        curve = [
            {"epoch": e, "seconds": 9.0 * e, "train/top1_error": 25 + epochs - e} for e in rows
        ]
        return record | {"curve": curve}

    found = find(
        "relu_speed",
        *(run("relu_speed", seed, 7) for seed in (1, 2)),
        *(run("relu_speed_tanh", seed, 42) for seed in (1, 2)),
    )
    epochs, seconds = found.measured
    assert epochs.mean.value == pytest.approx(6)
    assert seconds.mean.value == pytest.approx(6)
    assert found.what == "confirmed"


def test_seven_networks_are_five_and_two_pre_trained_ones(find: Find, config_of: Config) -> None:
    alexnet, finetune = (
        {"experiment": "whatever the run was called", "config": config_of(name)}
        for name in ("alexnet", "finetune")
    )
    record = {
        "format": 1,
        "experiment": "7 whatever the run was called",
        "command": "python -m alexnet_repro.evaluate",
        "date": "2026-01-01",
        "dataset": {"name": "imagenet_2012"},
        "split": "val",
        "errors": {"ten": {"top1": 36.5, "top5": 15.5}},
        "checkpoints": [alexnet] * 5 + [finetune] * 2,
    }
    found = find("table_2_seven", record, kind="evaluation")
    assert found.what == "confirmed"
    assert found.measured[0].mean.value == 36.5
    assert find("table_2_five", record, kind="evaluation").what == "not measured"


def test_one_network_with_other_settings_makes_it_another_ensemble(
    find: Find, config_of: Config
) -> None:
    alexnet = {"config": config_of("alexnet")}
    narrow = copy.deepcopy(alexnet)
    narrow["config"]["model"]["width"] = 0.5
    record = {
        "format": 1,
        "command": "python -m alexnet_repro.evaluate",
        "date": "2026-01-01",
        "dataset": {"name": "imagenet_2012"},
        "split": "val",
        "errors": {"ten": {"top1": 38.0, "top5": 16.5}},
        "checkpoints": [alexnet] * 4 + [narrow],
    }
    found = find("table_2_five", record, kind="evaluation")
    assert found.where == "other settings"


def test_an_older_record_without_new_keys_is_still_known(
    config_of: Config, experiments: Experiments
) -> None:
    run = trained(config_of("ablation_tanh"), 40)
    for part, key in ((None, "init_from"), (None, "init_layers"), ("model", "norm_after_pool")):
        del (run["config"][part] if part else run["config"])[key]
    assert experiments.experiment(run) == "ablation_tanh"
    assert experiments.conditions(run, "ablation_tanh") == {}


def test_two_changes_at_once_are_neither_experiment(
    find: Find, config_of: Config, experiments: Experiments
) -> None:
    both = trained(config_of("ablation_no_lrn"), 39.0, model__activation="tanh")
    assert experiments.experiment(both) == "ablation_no_lrn+ablation_tanh"
    assert find("lrn", trained(config_of("alexnet"), 37.5), both).what == "not measured"


def test_a_ratio_is_of_runs_on_one_machine(find: Find, config_of: Config) -> None:
    two, one = (trained(config_of(e), 37.0) for e in ("alexnet", "ablation_one_gpu"))
    two |= {"arrangement": A_GPU_EACH, "train_seconds": 285.0}
    one |= {"arrangement": A_GPU_EACH}
    for record in (two, one):
        record["machine"] = {"processor": "x", "gpu": "GTX 580"}
    found = find("two_gpu_time", two, one)
    assert found.measured[0].mean.value == pytest.approx(0.95)
    assert found.verdicts[0].why == "one seed"


def test_times_of_two_machines_are_not_compared(find: Find, config_of: Config) -> None:
    two, one = (trained(config_of(e), 37.0) for e in ("alexnet", "ablation_one_gpu"))
    two |= {
        "arrangement": A_GPU_EACH,
        "machine": {"processor": "x", "gpu": "GTX 580"},
    }
    one |= {
        "arrangement": A_GPU_EACH,
        "machine": {"processor": "x", "gpu": "H100"},
    }
    assert find("two_gpu_time", two, one).what == "not measured"


def test_a_claim_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="there is no claim lnr; did you mean lrn"):
        read_claims(["lnr"])
    with pytest.raises(UsageError, match="there is no claim x; there are codes, colour_pca"):
        read_claims(["x"])


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("within: 1", "witin: 1", "claims.table_1.witin: there is no such key"),
        ("section: §7, Table 1", "sectoin: x", "claims.table_1.sectoin: there is no such key"),
        (
            "ten_crop_top1",
            "ten_crop_top2",
            "claims.two_gpu.figures.0.measure=ten_crop_top2: input should be 'ten_crop_top1', ",
        ),
        ("  within: 1\n", "", "claims.table_1: top-1: one of expected, within, at_most"),
    ],
)
def test_a_mistake_in_a_claim_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str, message: str
) -> None:
    monkeypatch.setattr(claims, "CONF", tmp_path)
    text = (CONF / "claims.yaml").read_text()
    (tmp_path / "claims.yaml").write_text(text.replace(right, wrong))
    with pytest.raises(UsageError, match=re.escape(message)):
        read_claims()


EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_file_of_an_experiment_says_what_hydra_composes(
    config_of: Config, experiments: Experiments, experiment: str
) -> None:
    composed = settings(config_of(experiment))
    assert experiments.changes[experiment] == experiments.other_settings(composed)


def test_a_regime_and_an_experiment_that_set_one_key_are_compared_in_the_regime(
    find: Find, config_of: Config, experiments: Experiments
) -> None:
    one, other = (
        trained(config_of(f"[demo,{name}]"), 40) for name in ("alexnet", "ablation_no_dropout")
    )
    assert one["config"]["model"]["dropout"] == 0.2
    assert experiments.experiment(other) == "ablation_no_dropout"
    assert find("dropout", one, other).where == "other settings"


def test_pairs_are_those_of_one_regime(find: Find, config_of: Config) -> None:
    records = [
        trained(config_of(f"[{regime},{name}]"), top1, seed=seed)
        for regime, apart in (("small", 20.0), ("evidence", 1.0))
        for name, top1 in (("alexnet", 40.0), ("ablation_no_lrn", 40.0 + apart))
        for seed in (1, 2, 3)
        if (regime, name, seed) != ("small", "alexnet", 3)
    ]
    (top1, _) = find("lrn", *records).measured
    assert top1.mean.values == (-1.0, -1.0, -1.0)


def test_a_value_that_the_run_was_not_told_makes_it_no_experiment(
    config_of: Config, experiments: Experiments
) -> None:
    run = trained(config_of("alexnet"), 40)
    run["config"]["model"]["activation"] = "tanh"  # of a regime of the user's own
    assert experiments.experiment(run) == "alexnet"
    assert experiments.conditions(run, "alexnet") == {"model.activation": "tanh"}


@pytest.mark.parametrize(
    ("typed", "experiment"),
    [
        ({"model__activation": "tanh"}, "ablation_tanh"),
        ({"model__response_norm": None}, "ablation_no_lrn"),
    ],
)
def test_what_is_typed_key_by_key_is_the_experiment_too(
    config_of: Config, experiments: Experiments, typed: dict[str, Any], experiment: str
) -> None:
    assert experiments.experiment(trained(config_of("alexnet"), 40, **typed)) == experiment


def test_a_typed_key_makes_another_experiment_of_one(
    config_of: Config, experiments: Experiments
) -> None:
    run = trained(config_of("cifar_13_response_norm"), 18, model__response_norm__k=1.0)
    assert experiments.experiment(run) == "cifar_13_response_norm_k1"


def ablated(
    config_of: Config, claim_of: str, errors: dict[int, tuple[float, float]], **both: Any
) -> list[dict[str, Any]]:
    """Runs of the baseline and of an ablation, of equal seeds, with these top-1 errors."""
    return [
        trained(config_of(name), top1, seed=seed, **both)
        for seed, pair in errors.items()
        for name, top1 in zip(("alexnet", claim_of), pair, strict=True)
    ]


def test_what_is_found_and_where_do_not_hide_each_other(find: Find, config_of: Config) -> None:
    errors = {1: (37.0, 39.0), 2: (37.5, 39.4), 3: (36.9, 39.0)}
    found = find("lrn", *ablated(config_of, "ablation_no_lrn", errors, dataset="imagenette"))
    assert (found.verdicts[0].what, found.where) == ("confirmed", "other photographs")


def test_of_networks_that_never_left_chance_nothing_follows(find: Find, config_of: Config) -> None:
    errors = {1: (43.0, 66.0), 2: (43.5, 89.5), 3: (42.9, 82.0)}
    records = ablated(config_of, "ablation_no_lrn", errors)
    for record in records:
        top1 = record["errors"]["ten"]["top1"]
        record["chance"] = {"top1": 90.0, "top5": 50.0}
        record["errors"]["ten"]["top1_interval"] = [top1 - 1.5, top1 + 1.5]
    found = find("lrn", *records)
    assert found.what == "no verdict"
    assert found.verdicts[0].why == "1 of 6 networks stayed at chance"
    assert forest_rows([found]) == []
    records[3]["errors"]["ten"]["top1_interval"] = [86.0, 89.9]
    assert find("lrn", *records).verdicts[0].what == "confirmed"


def test_of_networks_with_unequal_data_nothing_follows(find: Find, config_of: Config) -> None:
    records = ablated(config_of, "ablation_no_lrn", {1: (37.0, 39.0), 2: (37.5, 39.6)})
    for record, images in zip(records, (4000, 4000, 4000, 3900), strict=True):
        record["dataset"] |= {"classes": 10, "images": {"train": images, "val": 1500}}
    found = find("lrn", *records)
    assert (found.what, found.verdicts[0].why) == ("no verdict", "the networks had unequal data")


@pytest.mark.parametrize(
    ("claim", "ablation"), [("dropout", "ablation_no_dropout"), ("crops", "ablation_no_crops")]
)
def test_what_a_network_overfits_needs_the_errors_of_centre_crops_of_training_images(
    find: Find, config_of: Config, claim: str, ablation: str
) -> None:
    errors = {1: (37.0, 39.0), 2: (37.5, 39.6), 3: (36.9, 39.2)}
    records = ablated(config_of, ablation, errors)
    assert not any(figure.figure.name == "top-1 gap" for figure in find(claim, *records).measured)
    for record, error in zip(records, (20.0, 1.0, 20.3, 1.2, 20.1, 1.1), strict=True):
        record["training_errors"] = {"centre": {"top1": error, "top5": 0.5}}
    found = find(claim, *records)
    # Seed 1, centre crops: 40.5 − 1.0 without, 38.5 − 20.0 with.
    assert found.measured[0].mean.values == pytest.approx((21.0, 21.2, 21.3))
    assert found.verdicts[0].what == "confirmed"


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_an_effect_as_large_as_the_power_says_is_found_in_four_of_five_cases(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    effect = mean(list(rng.normal(size=seeds))).detectable
    assert effect is not None
    spread = stats.tstd(np.random.default_rng(seeds).normal(size=seeds))
    draws = np.random.default_rng(0).normal(effect, spread, (40_000, seeds))
    found = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def kernels(config: dict[str, Any], seed: int, p_value: float, **network: int) -> dict[str, Any]:
    """A record of ``alexnet figures 3`` on the network of a run with this configuration."""
    network_of = {"experiment": "alexnet", "data": "imagenet_2012", "seed": seed, "config": config}
    return {
        "format": 1,
        "command": "python -m alexnet_repro.figures 3",
        "date": "2026-01-01",
        "network": network_of | network,
        "colour_saturation": {"p_value": p_value},
    }


def test_every_run_has_to_specialize(find: Find, config_of: Config, tmp_path: Path) -> None:
    first, second, other = (
        kernels(config_of("alexnet"), seed, p_value)
        for seed, p_value in ((1, 0.001), (2, 0.03), (2, 0.3))
    )
    assert find("kernels", first, second, kind="kernels").what == "confirmed"
    shutil.rmtree(tmp_path / "run1")
    assert find("kernels", first, kind="kernels").what == "not resolved"
    found = find("kernels", first, other, kind="kernels")
    assert [(v.what, v.why) for v in found.verdicts] == [("not resolved", "1 of 2 runs")]


@pytest.mark.parametrize(("trained_for", "runs"), [((35, 35), 2), ((35, 20), 1), ((None, None), 1)])
def test_checkpoints_are_compared_if_they_were_trained_as_long_whatever_was_planned(
    find: Find, config_of: Config, trained_for: tuple[int | None, ...], runs: int
) -> None:
    records = []
    for seed, (planned, done) in enumerate(zip((40, 35), trained_for, strict=True)):
        config = copy.deepcopy(config_of("alexnet"))
        config["schedule"]["epochs"] = planned
        records.append(kernels(config, seed, 0.01, **({} if done is None else {"epochs": done})))
    assert len(find("kernels", *records, kind="kernels").records) == runs


def test_of_several_groups_one_whose_networks_learned_with_most_pairs_speaks(
    find: Find, config_of: Config
) -> None:
    def runs(batch_size: int, seeds: int, apart: float, **more: Any) -> list[dict[str, Any]]:
        errors = {seed: (40.0, 40.0 + apart + seed / 10) for seed in range(seeds)}
        place = {"dataset": "imagenette", "data__batch_size": batch_size}
        return ablated(config_of, "ablation_no_lrn", errors, **place, **more)

    few, many = runs(32, 2, 1.0), runs(64, 3, 2.0, model__width=0.25)
    assert len(find("lrn", *few, *many).measured[0].of) == 3
    for record in many:
        record["chance"] = {"top1": 41.0, "top5": 50.0}
    assert len(find("lrn", *few, *many).measured[0].of) == 2
    assert find("table_1", *few, *many).where == "other photographs"
    assert len(find("table_1", *few, *many).measured[0].of) == 2, "the network most like it"
