"""A run goes on as what it was: what may change, what has to be named, what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from alexnet_repro.base.config import composed
from alexnet_repro.base.errors import UsageError
from alexnet_repro.training.changed_optimizer import ChangedOptimizer
from alexnet_repro.training.configuration import Configuration
from alexnet_repro.training.parts import make_data
from alexnet_repro.training.record import processes
from alexnet_repro.training.resuming import (
    KINDS,
    Start,
    best_validation_error,
    empty,
    finished_run,
    kind_of,
    same_configuration,
    shared_keys,
    started,
)
from alexnet_repro.training.sgd import paper_sgd
from tests.recorded import configuration, recorded
from tests.soak.images import noise_images

CONFIG: dict[str, Any] = {"seed": 1, "optimizer": {"lr": 0.01}, "skip_finished": False}


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run of one epoch."""
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture
def going_on(run: Path, tiny: list[str]) -> Callable[..., Start]:
    """How the same command with ``resume`` and more arguments starts."""

    def start(*more: str) -> Start:
        resume = f"resume={run}/checkpoints/last.ckpt"
        return started(configuration(*tiny, "schedule.epochs=1", resume, *more), run)

    return start


@pytest.fixture
def saved_as(run: Path, tiny: list[str]) -> Callable[..., None]:
    """Has the checkpoint of the run be that of a command with these arguments."""

    def save(*more: str) -> None:
        last = run / "checkpoints" / "last.ckpt"
        checkpoint = torch.load(last, weights_only=True)
        torch.save(checkpoint | {"config": recorded(*tiny, *more)}, last)

    return save


@pytest.mark.parametrize("field", fields(Configuration), ids=lambda field: field.name)
def test_every_key_of_the_configuration_has_a_kind(field: Any) -> None:
    assert field.name in KINDS


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("model.dropout", "named"),
        ("model.of_mine", "named"),
        ("data.batch_size", "named"),
        ("data.source.seed", "named"),
        ("data.source.root", "how"),
        ("data.num_workers", "how"),
        ("trainer.devices", "how"),
        ("trainer.of_mine", "how"),
        ("trainer.precision", "how"),
        ("trainer.gradient_clip_val", "named"),
        ("strategy.micro_batches", "how"),
        ("callbacks.of_mine._target_", "named"),
        ("callbacks.lr_monitor._target_", "aside"),
        ("logger.wandb.project", "aside"),
        ("schedule.epochs", "grows"),
        ("schedule.patience", "named"),
        ("optimizer.lr", "named"),
        ("optimizer._target_", "fixed"),
        ("init_from", "fixed"),
        ("seed", "named"),
    ],
)
def test_what_becomes_of_a_key(key: str, kind: str) -> None:
    assert kind_of(key) == kind


@pytest.mark.parametrize(
    "free",
    [
        "trainer.log_every_n_steps=7",
        "trainer=two_cpu",
        "trainer.max_steps=900",
        "performance=fast",
        "logger=csv",
        "data.num_workers=3",
        "checkpoint_every_n_steps=2",
        "callbacks=lr_monitor logger=csv",
        "schedule.epochs=9",
    ],
)
def test_where_and_how_it_computes_may_change(going_on: Callable[..., Start], free: str) -> None:
    start = going_on("schedule.epochs=2", *free.split())
    assert start.checkpoint is not None
    assert start.changed == {}


@pytest.mark.parametrize(
    ("argument", "differs"),
    [
        ("schedule.epochs=3", True),
        ("trainer.max_steps=7", True),
        ("trainer.precision=bf16-mixed", True),
        ("checkpoint_every_n_steps=2", True),
        ("seed=5", True),
        ("data.num_workers=3", False),
        ("data.cache_dir=elsewhere", False),
        ("logger=csv", False),
    ],
)
def test_processes_share_what_they_train_and_how_long(argument: str, differs: bool) -> None:
    one, other = (shared_keys(recorded(*given)) for given in ([], [argument]))
    assert (one != other) == differs


REFUSED = {
    "model.dropout=0.25": "model.dropout 0.5 → 0.25",
    "model.response_norm=null": "model.response_norm {",
    "data.batch_size=4": "data.batch_size 8 → 4",
    "augment.colour_pca=0": "augment.colour_pca 0.1 → 0",
    "optimizer.lr=0.1": "optimizer.lr 0.01 → 0.1",
    "optimizer.weight_decay={others:0}": "optimizer.weight_decay 0.0005 → {",
    "schedule.patience=2": "schedule.patience 5 → 2",
    "seed=5": "seed 0 → 5",
    "run_name=another": "run_name alexnet → another",
    "trainer.accumulate_grad_batches=2": "trainer.accumulate_grad_batches 1 → 2",
    "callbacks=weight_averaging": "callbacks.weight_averaging absent → {",
}


@pytest.mark.parametrize("argument", REFUSED)
def test_another_experiment_is_refused_unless_its_keys_are_named(
    going_on: Callable[..., Start], argument: str
) -> None:
    key = argument.partition("=")[0].replace("callbacks", "callbacks.weight_averaging")
    with pytest.raises(UsageError) as refused:
        going_on("schedule.epochs=2", argument)
    told = str(refused.value)
    assert REFUSED[argument] in told
    assert f"resume_with=[{key}]" in told
    assert "init_from=" in told
    assert "\n" not in told
    start = going_on("schedule.epochs=2", argument, f"resume_with=[{key}]")
    assert list(start.changed) == [key]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["optimizer=adamw"], "optimizer._target_ alexnet_repro.paper_sgd → torch.optim.AdamW"),
        (["schedule=constant"], "schedule._target_ alexnet_repro.PlateauSchedule → "),
        (["init_from=a.ckpt"], "init_from null → a.ckpt"),
        (["data.image_size=300"], "data.image_size 256 → 300"),
    ],
)
def test_what_a_checkpoint_has_the_state_of_cannot_be_allowed(
    going_on: Callable[..., Start], arguments: list[str], told: str
) -> None:
    named = "resume_with=[optimizer,schedule,init_from,data.image_size]"
    with pytest.raises(UsageError) as refused:
        going_on("schedule.epochs=2", *arguments, named)
    assert told in str(refused.value)
    assert "resume_with" not in str(refused.value)


def test_only_what_is_named_is_allowed(going_on: Callable[..., Start]) -> None:
    with pytest.raises(UsageError, match=r"change the experiment: seed 0 → 5; restore"):
        going_on("schedule.epochs=2", "seed=5", "optimizer.lr=1", "resume_with=[optimizer.lr]")
    with pytest.raises(UsageError, match=r"resume_with: there is no key optimizer.lrr"):
        going_on("schedule.epochs=2", "resume_with=[optimizer.lrr]")
    with pytest.raises(UsageError, match="resume_with: it is for resume and skip_finished"):
        configuration("resume_with=[seed]")


def test_what_a_refusal_advises_is_allowed(going_on: Callable[..., Start]) -> None:
    arguments = ["schedule.epochs=2", "seed=5", "optimizer.lr=1", "data.batch_size=4"]
    with pytest.raises(UsageError) as refused:
        going_on(*arguments, "resume_with=[seed]")
    advised = "resume_with=[seed,data.batch_size,optimizer.lr]"
    assert advised in str(refused.value)
    assert set(going_on(*arguments, advised).changed) == {"seed", "data.batch_size", "optimizer.lr"}
    with pytest.raises(UsageError, match="seed 0 → 5") as refused:
        going_on("schedule.epochs=1", "seed=5")  # of one epoch done
    assert "resume_with" not in str(refused.value)


@pytest.mark.parametrize("named", [[], ["resume_with=[model]"]])
@pytest.mark.parametrize("change", ["model.width=0.2", "model.sixth_conv=true"])
def test_a_network_that_the_weights_do_not_fit_cannot_be_allowed(
    going_on: Callable[..., Start], change: str, named: list[str]
) -> None:
    with pytest.raises(UsageError, match="the keys of model must be those of the check") as refused:
        going_on("schedule.epochs=2", change, *named)
    assert "resume_with" not in str(refused.value)


COSINE = ["schedule=cosine"]
ONE_CYCLE = ["schedule._target_=torch.optim.lr_scheduler.OneCycleLR", "schedule.max_lr=0.1"]


@pytest.mark.parametrize(
    ("schedule", "change"),
    [
        (COSINE, "schedule.epochs=3"),
        (ONE_CYCLE, "schedule.epochs=3"),
        (COSINE, "data.batch_size=4"),
        ([*COSINE, "schedule.T_max=9", "schedule.warmup_epochs=1"], "data.batch_size=4"),
        (COSINE, "trainer.limit_train_batches=2"),
    ],
)
def test_a_schedule_of_torch_stays_as_long_as_it_was(
    going_on: Callable[..., Start],
    saved_as: Callable[..., None],
    schedule: list[str],
    change: str,
) -> None:
    key = change.partition("=")[0]
    arguments = [*schedule, "schedule.epochs=2"]
    saved_as(*arguments)
    assert going_on(*arguments).left
    with pytest.raises(UsageError, match=f"experiment: {key} .* keeps its le") as refused:
        going_on(*arguments, change, f"resume_with=[{key}]")
    assert "resume_with" not in str(refused.value)


@pytest.mark.parametrize(
    ("schedule", "change"),
    [
        (["schedule=step"], "schedule.epochs=3"),
        ([*COSINE, "schedule.T_max=9"], "schedule.epochs=3"),
        ([*COSINE, "schedule.interval=epoch"], "data.batch_size=4"),
    ],
)
def test_a_training_may_change_its_length_where_its_schedule_has_none(
    going_on: Callable[..., Start],
    saved_as: Callable[..., None],
    schedule: list[str],
    change: str,
) -> None:
    arguments = [*schedule, "schedule.epochs=2"]
    saved_as(*arguments)
    assert going_on(*arguments, change, "resume_with=[data.batch_size]").left


def test_epochs_may_grow_but_are_not_undone(going_on: Callable[..., Start], run: Path) -> None:
    assert going_on("schedule.epochs=2").left
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] = 5
    checkpoint["config"]["schedule"]["epochs"] = 9
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    with pytest.raises(UsageError, match=r"schedule.epochs 9 → 7"):
        going_on("schedule.epochs=7")
    assert going_on("schedule.epochs=7", "resume_with=[schedule.epochs]").left
    for named in ([], ["resume_with=[schedule.epochs]"]):
        with pytest.raises(UsageError, match=r"schedule.epochs=3: .* trained for 5 epochs; choose"):
            going_on("schedule.epochs=3", *named)


def test_a_finished_run_keeps_its_record(going_on: Callable[..., Start], run: Path) -> None:
    assert going_on().finished == str(run / "result.json")
    with pytest.raises(UsageError, match=r"is fully trained, so changing"):
        going_on("optimizer.lr=0.5", "resume_with=[optimizer.lr]")
    (run / "result.json").unlink()
    # Killed after its last epoch, before its test.
    start = going_on()
    assert (start.finished, start.left) == (None, False)


def test_an_interrupted_run_is_resumed_though_one_like_it_is_finished(
    run: Path, tiny: list[str], cache: Path
) -> None:
    """As that of a job of an array whose jobs differ in their folders only."""
    other = run.with_name("other")
    shutil.copytree(run, other)
    (run / "result.json").unlink()
    asked = configuration(
        *tiny, "schedule.epochs=1", "skip_finished=true", f"data.cache_dir={cache}"
    )
    start = started(asked, run)
    assert (start.finished, start.checkpoint) == (None, str(run / "checkpoints" / "last.ckpt"))
    shutil.rmtree(run / "checkpoints")
    start = started(asked, run)
    assert start.finished == str(other / "result.json")


def test_what_an_older_version_did_not_know_is_no_change(
    going_on: Callable[..., Start], run: Path
) -> None:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    for group, key in (("model", "norm_after_pool"), ("optimizer", "bias_weight_decay")):
        del checkpoint["config"][group][key]
    del checkpoint["config"]["overwrite"]
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    assert going_on("schedule.epochs=2").changed == {}
    with pytest.raises(UsageError, match=r"optimizer.bias_weight_decay absent → false"):
        going_on("schedule.epochs=2", "optimizer.bias_weight_decay=false")


def test_what_a_checkpoint_names_is_not_built(going_on: Callable[..., Start], run: Path) -> None:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    checkpoint["config"]["optimizer"]["lr"] = {"_target_": "os.system", "command": "true"}
    torch.save(checkpoint, run / "checkpoints" / "last.ckpt")
    with pytest.raises(UsageError, match=r"optimizer.lr"):
        going_on("schedule.epochs=2", "resume_with=[optimizer.lr]")


def test_a_folder_with_a_run_is_for_no_other(run: Path, tiny: list[str], tmp_path: Path) -> None:
    new = configuration(*tiny, "schedule.epochs=1")
    with pytest.raises(UsageError, match=r"already contains a run \(result.json\)") as refused:
        started(new, run)
    for way in (f"resume={run}/checkpoints/last.ckpt", "skip_finished=true", "overwrite=true"):
        assert way in str(refused.value)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "run.log").touch()
    assert started(new, begun).checkpoint is None
    elsewhere = f"resume={shutil.copy(run / 'checkpoints/last.ckpt', tmp_path)}"
    with pytest.raises(UsageError, match="contains another run than that of resume="):
        started(configuration(*tiny, "schedule.epochs=1", elsewhere), run)
    other = configuration(*tiny, "schedule.epochs=2", "seed=7", "skip_finished=true")
    with pytest.raises(UsageError, match="seed 0 → 7"):
        started(other, run)


@pytest.mark.parametrize("change", ["seed=7", "model.width=0.2"])
def test_a_refusal_names_the_key_that_was_given(run: Path, tiny: list[str], change: str) -> None:
    again = configuration(*tiny, "schedule.epochs=2", "skip_finished=true", change)
    with pytest.raises(UsageError, match=r"^skip_finished=true: ") as refused:
        started(again, run)
    assert "resume=" not in str(refused.value)


def test_other_classes_are_refused_before_their_images_are_prepared(
    run: Path, tiny: list[str], tmp_path: Path
) -> None:
    others = noise_images(tmp_path / "others", train=8, others=3)
    for apple in others.glob("*/apple"):
        apple.rename(apple.with_name("avocado"))
    last, cache = run / "checkpoints" / "last.ckpt", tmp_path / "cache"
    arguments = [f"data.source.root={others}", f"data.cache_dir={cache}", f"resume={last}"]
    with pytest.raises(UsageError, match="its 3 classes are not the 3 of the data"):
        make_data(configuration(*tiny, *arguments), Start(str(run), checkpoint=str(last)))
    assert not cache.exists()


def test_overwriting_removes_what_is_there_but_for_the_messages(
    run: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = configuration(*tiny, "schedule.epochs=1", "overwrite=true")
    assert started(over, run) == Start(str(run))
    (run / "wandb").symlink_to(run.parent)
    empty(run)
    assert [path.name for path in run.iterdir()] == ["run.log"]
    assert run.parent.is_dir()
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.ckpt").touch()
    monkeypatch.chdir(run)
    with pytest.raises(UsageError, match="is where the command was started"):
        started(over, run)
    with pytest.raises(UsageError, match="overwrite=true starts over"):
        configuration("overwrite=true", "resume=last")


def test_overwriting_removes_no_other_run_and_nothing_that_the_new_one_reads(
    run: Path, tiny: list[str]
) -> None:
    for key, told in (
        (f"init_from={run}/checkpoints/last.ckpt", "init_from="),
        (f"init_from={run}", "init_from="),
        (f"data.cache_dir={run}/cache", "data.cache_dir="),
        (f"data.source.root={run}", "data.source.root="),
    ):
        with pytest.raises(UsageError, match=f"^{told}.* is in .*, which overwrite=true empties"):
            started(configuration(*tiny, "schedule.epochs=1", "overwrite=true", key), run)
    other = run / "77" / "checkpoints" / "last.ckpt"
    other.parent.mkdir(parents=True)
    other.touch()
    over = configuration(*tiny, "schedule.epochs=1", "overwrite=true")
    with pytest.raises(UsageError, match=r"also contains the run .*/77; choose another"):
        started(over, run)


def test_a_command_that_changes_to_its_folder_was_not_started_there(
    run: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = configuration(*tiny, "schedule.epochs=1", "overwrite=true")
    config = composed("train", "hydra.job.chdir=true", return_hydra_config=True)
    config.hydra.runtime.cwd = str(run.parent)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
    monkeypatch.chdir(run)
    assert started(over, run) == Start(str(run))


def test_a_command_begins_goes_on_or_does_nothing_whichever_is_due(
    run: Path, tiny: list[str], tmp_path: Path
) -> None:
    def start(*more: str, directory: Path = run) -> Start:
        again = configuration(*tiny, "schedule.epochs=1", "skip_finished=true", *more)
        return started(again, directory)

    assert start().finished == str(run / "result.json")
    assert start("schedule.epochs=2").checkpoint == str(run / "checkpoints" / "last.ckpt")
    (run / "result.json").unlink()
    assert start().checkpoint == str(run / "checkpoints" / "last.ckpt")
    (run / "checkpoints" / "last.ckpt").unlink()
    (run / "checkpoints" / "best.ckpt").unlink()
    # Killed before its first checkpoint.
    assert start() == Start(str(run))
    assert start(directory=tmp_path / "new" / "run") == Start(str(tmp_path / "new" / "run"))


@pytest.mark.parametrize("lr", [{"lr": 0.4}, {"bias_lr": 0.7}, {"lr": 0.4, "bias_lr": 0.7}])
def test_a_new_learning_rate_takes_effect_and_stays_divided(lr: dict[str, float]) -> None:
    network = torch.nn.Linear(3, 2)

    optimizer = paper_sgd(network, lr=0.1)

    for group in optimizer.param_groups:
        group["lr"] /= 100  # divided twice
    module: Any = SimpleNamespace(network=network)
    trainer: Any = SimpleNamespace(optimizers=[optimizer], lr_scheduler_configs=[])
    changed = ChangedOptimizer(
        lambda network: paper_sgd(network, lr=0.1),
        lambda network: paper_sgd(network, momentum=0.5, **({"lr": 0.1} | lr)),
    )
    changed.on_train_start(trainer, module)
    weight, bias = optimizer.param_groups
    assert weight["lr"] == pytest.approx(lr.get("lr", 0.1) / 100)
    assert bias["lr"] == pytest.approx(lr.get("bias_lr", lr.get("lr", 0.1)) / 100)
    assert weight["momentum"] == bias["momentum"] == 0.5
    assert weight["weight_decay"] == 0.0005


WHOLE = {"format": 1, "command": "python", "date": "2026-01-01"}


def test_a_job_is_found_under_another_number_and_only_with_its_configuration(
    tmp_path: Path,
) -> None:
    finished = tmp_path / "3_alexnet_seed1" / "result.json"
    finished.parent.mkdir()
    finished.write_text(json.dumps(WHOLE | {"config": CONFIG}))
    job = tmp_path / "0_alexnet_seed1"
    assert finished_run(job, CONFIG | {"skip_finished": True, "logger": {"csv": {}}}) == finished
    assert finished_run(job, CONFIG | {"seed": 2}) is None
    assert finished_run(job, CONFIG | {"optimizer": {"lr": 0.1}}) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", json.dumps(WHOLE | {"config": 7}), "[" * 200_000, "\x80"]
)
def test_an_odd_record_beside_a_job_is_passed_over_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    for name, said in (("1", text), ("2", json.dumps(WHOLE | {"config": CONFIG}))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(said, encoding="latin-1")
    assert finished_run(tmp_path / "0", CONFIG) == tmp_path / "2" / "result.json"
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path / '1' / 'result.json'} is skipped: ")
    with pytest.raises(UsageError, match="move it out of the folder"):
        best_validation_error(tmp_path / "1" / "result.json")


@pytest.mark.parametrize("text", ["[{", "{}", "[1]"])
def test_a_damaged_list_of_processes_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps([WHOLE]))
    assert processes(path) == [WHOLE]
    path.write_text(text)
    assert processes(path) == []
    assert (tmp_path / "run_damaged.json").read_text() == text
    assert "run.json is damaged" in caplog.text


@pytest.mark.parametrize("key", ["logger", "resume", "summary", "checkpoint_every_n_steps"])
def test_what_changes_no_figure_makes_no_other_configuration(key: str) -> None:
    assert same_configuration(CONFIG, CONFIG | {key: "other"})
    assert not same_configuration(CONFIG, CONFIG | {"data": "other"})


def test_precision_may_change_on_the_way_and_is_another_measurement() -> None:
    exact, fast = recorded("performance=exact"), recorded("performance=fast")
    assert kind_of("trainer.precision") == "how"
    assert not same_configuration(exact, fast)


def test_a_search_minimizes_the_best_epoch(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    rows = [{"epoch": 1, "val/top1_error": e} for e in (60.0, 41.5, None, 43.0)]
    path.write_text(json.dumps(WHOLE | {"curve": rows}))
    assert best_validation_error(path) == 41.5
