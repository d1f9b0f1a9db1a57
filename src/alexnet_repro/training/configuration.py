"""The configuration of a run: its keys, and what only several of them together can have wrong."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

import torch
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch.optim.lr_scheduler import ReduceLROnPlateau

from alexnet_repro.base.build import (
    TARGET,
    ArgumentsOf,
    Count,
    Natural,
    NonNegative,
    Positive,
    Seed,
    build,
    called,
    check,
    checked,
    described,
    located,
    taken,
)
from alexnet_repro.base.config import CONF
from alexnet_repro.base.errors import UsageError
from alexnet_repro.base.mistakes import meant
from alexnet_repro.columns.strategy import COLUMNS, ColumnPipelineStrategy, the_network
from alexnet_repro.data.augment import AugmentOptions
from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.network.alexnet import INPUT_SIZE, AlexNet
from alexnet_repro.network.cifar import CifarNet
from alexnet_repro.training.networks import NETWORKS, READS, make_network, reads, sizes

Node = dict[str, Any]

OWNED = {
    "callbacks": "callbacks=NAME adds one, callbacks.NAME._target_=… one of yours",
    "logger": "logger=NAME chooses one, logger.NAME._target_=… one of yours",
    "strategy": "strategy=NAME chooses one, and so do trainer=two_gpu and trainer=ddp",
    "default_root_dir": "hydra.run.dir=FOLDER is where a run writes",
    "plugins": "checkpoints are written by one of ours",
    "use_distributed_sampler": "data decides which process reads which images",
    "enable_checkpointing": "a run keeps its checkpoints; trainer.fast_dev_run=true keeps none",
    "enable_progress_bar": "~callbacks.progress leaves the bar to Lightning",
    "barebones": "a run keeps its record; debug=fdr is for a quick try",
    "val_check_interval": "validation closes an epoch, of which the record has a line",
}
"""Arguments of the Trainer that come from elsewhere, and what to type instead."""

LENGTHS = {"total_steps", "T_max"}
"""Arguments of schedulers for the length of the training, which is known."""

MONITORED = "val/top1_error"
"""The metric that schedules look at."""


@dataclass(frozen=True)
class Scheduling:
    """Keys of ``schedule`` beside the arguments of a scheduler of torch.

    Attributes:
        epochs: that training takes.
        interval, frequency: the scheduler steps after so many epochs or steps.
        monitor: the logged metric that a scheduler which looks at one is given.
        warmup_epochs: within which the learning rate rises from a hundredth of itself to itself.
    """

    epochs: Count
    interval: Literal["epoch", "step"] = "epoch"
    frequency: Count = 1
    monitor: str = MONITORED
    warmup_epochs: NonNegative = 0


SCHEDULING = ("optimizer", *(field.name for field in fields(Scheduling)))
"""Arguments that a scheduler of torch is given, or that are not its own."""


@dataclass(frozen=True)
class Configuration:
    """Every key of ``conf/train.yaml``; what the groups hold is checked by what they name."""

    model: Node
    data: Node
    augment: Annotated[Node, ArgumentsOf(AugmentOptions)]
    optimizer: Node
    schedule: Node
    trainer: Node
    strategy: Node
    callbacks: dict[str, Node]
    seed: Seed
    run_name: str
    resume: str | None
    resume_with: list[str] | None
    init_from: str | None
    init_layers: list[str] | None
    checkpoint_every_n_steps: Count | None
    fp32_precision: Literal["ieee", "tf32"]
    compile_network: bool
    skip_finished: bool
    overwrite: bool
    summary: bool
    logger: dict[str, Node] | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Configuration":
        """The checked configuration; nothing is built.

        Raises:
            UsageError: naming the key that is wrong, and why.
        """
        for key in values.keys() - inspect.signature(cls).parameters.keys():
            raise UsageError(f"{key}: there is no such key{meant(key, CONF, 'train')}")
        configuration = cls(**checked(cls, values))
        configuration._count_devices()
        configuration._check_parts()
        configuration._check_arrangement()
        return configuration

    @property
    def data_options(self) -> Node:
        """What the data module is given beside its own node."""
        target = located(self.data, "data")
        given: dict[str, Any] = {"seed": self.seed}
        if self.data_are_stored:
            given["augment"] = called(AugmentOptions, "augment", **self.augment)
        return taken(target, **given)

    @property
    def data_are_stored(self) -> bool:
        """Whether the data module is an :class:`ImageDataModule`, or another one."""
        return _is_a(self.data, "data", ImageDataModule)

    @property
    def scheduling(self) -> Scheduling:
        """The keys of ``schedule`` that are not the scheduler's own."""
        own = taken(Scheduling, **self.schedule)
        return Scheduling(**checked(Scheduling, own, "schedule"))

    @property
    def schedule_is_callback(self) -> bool:
        """Whether the schedule is one of ours, which are callbacks; else it is one of torch's."""
        return _is_a(self.schedule, "schedule", Callback)

    @property
    def lengths(self) -> Node:
        """Arguments of the scheduler that are the length of the training, as none is given."""
        return taken(
            located(self.schedule, "schedule"), **dict.fromkeys(LENGTHS - self.schedule.keys())
        )

    @property
    def has_columns(self) -> bool:
        """Whether the network is spread over devices, a column on each."""
        return TARGET in self.strategy and (
            located(self.strategy, "strategy") is ColumnPipelineStrategy
        )

    @property
    def processes(self) -> int:
        return int(self.trainer["devices"] * self.trainer["num_nodes"])

    @property
    def replicas(self) -> int:
        """Processes, or pairs of them, that share every batch."""
        return self.processes // COLUMNS if self.has_columns else self.processes

    def recorded(self) -> dict[str, Any]:
        """As a record holds it: with the defaults of what is named filled in."""
        return with_defaults(asdict(self))

    def _count_devices(self) -> None:
        """Put a number in the place of ``trainer.devices=auto``: all GPUs, or one CPU process."""
        if self.trainer.get("devices") == "auto":
            on_cpu = self.trainer.get("accelerator") == "cpu"
            gpus = 0 if on_cpu else CUDAAccelerator.auto_device_count()
            self.trainer["devices"] = max(1, gpus)

    def _check_parts(self) -> None:
        check(self.model, "model", *sizes(self.model, input_size=0).keys() - self.model.keys())
        self._check_data()
        self._check_optimizer()
        self._check_schedule()
        self._check_trainer()
        self._check_strategy()
        self._check_callbacks()
        for name, node in (self.logger or {}).items():
            _check_named(node, f"logger.{name}")
            check(node, f"logger.{name}")
        self._check_start()

    def _check_data(self) -> None:
        if not self.data_are_stored and "cache_dir" in self.data:
            raise UsageError(
                f"data._target_={self.data[TARGET]}: add data=own_module, which has no keys of "
                "other data"
            )
        for key in self.data_options.keys() & self.data.keys():
            raise UsageError(f"data.{key}: it is set by {key}, which the data are given")
        check(self.data, "data", *self.data_options)

    def _check_optimizer(self) -> None:
        needed = trained(self.optimizer)
        if "params" in needed:
            # What its values have wrong, it says when it is built.
            weights = [torch.zeros(2, 2, 2, 2), torch.zeros(2)]
            build(self.optimizer, "optimizer", params=[torch.nn.Parameter(w) for w in weights])
        else:
            check(self.optimizer, "optimizer", *needed)

    def _check_schedule(self) -> None:
        if self.schedule_is_callback:
            check(self.schedule, "schedule")
        else:
            self._check_scheduling()
            try:
                check(self.schedule, "schedule", *SCHEDULING, *LENGTHS - self.schedule.keys())
            except UsageError as error:
                left = str(error).endswith("no such key")
                also = "; schedule=plateau leaves only epochs" if left else ""
                raise UsageError(f"{error}{also}") from error

    def _check_scheduling(self) -> None:
        options, plateau = self.scheduling, _is_a(self.schedule, "schedule", ReduceLROnPlateau)
        warmup = options.warmup_epochs
        if plateau and (options.interval == "step" or warmup):
            key = "warmup_epochs" if warmup else "interval"
            raise UsageError(
                f"schedule.{key}={self.schedule[key]}: ReduceLROnPlateau looks at the validation "
                "once an epoch, and torch puts no warm-up before it"
            )
        if options.monitor != MONITORED and not plateau:
            raise UsageError(
                f"schedule.monitor={options.monitor}: {self.schedule[TARGET]} looks at no metric"
            )
        if warmup >= options.epochs or (options.interval == "epoch" and warmup % 1):
            raise UsageError(
                f"schedule.warmup_epochs={warmup:g}: fewer than schedule.epochs={options.epochs}, "
                "and whole ones unless schedule.interval=step"
            )

    def _check_trainer(self) -> None:
        most, epochs = self.trainer.get("max_epochs"), self.schedule.get("epochs")
        if epochs is not None and most != epochs:
            raise UsageError(
                f"trainer.max_epochs={most}: the length of training is schedule.epochs ({epochs})"
            )
        for key, instead in OWNED.items():
            if key in self.trainer:
                raise UsageError(f"trainer.{key}: {instead}")
        check(self.trainer, "trainer", *OWNED)
        checked(_counting, taken(_counting, **self.trainer), "trainer", complete=False)

    def _check_strategy(self) -> None:
        if TARGET in self.strategy:
            check(self.strategy, "strategy")
            checked(_waiting, taken(_waiting, **self.strategy), "strategy", complete=False)
        elif self.strategy:
            key, value = next(iter(self.strategy.items()))
            raise UsageError(
                f"strategy.{key}={value}: this trainer has the whole network on one device; choose "
                "trainer=two_gpu, two_cpu or columns_ddp for columns, ddp or ddp_cpu for replicas"
            )

    def _check_callbacks(self) -> None:
        for name, node in self.callbacks.items():
            key = f"callbacks.{name}"
            _check_named(node, key)
            check(node, key, *{"directory", "dirpath", "config"} - node.keys())
            if self.has_columns and _is_a(node, key, WeightAveraging):
                raise UsageError(
                    f"{key}: weights that are spread over devices are not averaged; "
                    "train them with trainer=auto, cpu or gpu"
                )

    def _check_start(self) -> None:
        goes_on = self.resume is not None or self.skip_finished
        if self.overwrite and goes_on:
            raise UsageError("overwrite=true starts over: leave out resume and skip_finished")
        if self.resume_with and not goes_on:
            raise UsageError("resume_with: it is for resume and skip_finished")
        if self.init_from == "":
            raise UsageError(
                "init_from: the experiment needs weights to start from; add init_from=PATH"
            )

    def _check_foreign(self, network: Any) -> None:
        """What needs a network of this package, where the network is another one."""
        if self.summary and not _is_a(self.model, "model", AlexNet, CifarNet):
            raise UsageError(
                f"summary=true: it prints the layers of AlexNet and of the CIFAR-10 networks, not "
                f"of {self.model[TARGET]}; trainer.enable_model_summary=true prints those of any"
            )
        if _is_a(self.model, "model", *NETWORKS.values()):
            return
        for key in ("init_from", "init_layers"):
            if getattr(self, key) is not None:
                raise UsageError(
                    f"{key}: it takes layers of this package's networks, not of "
                    f"{self.model[TARGET]}, which may have an argument of its own for weights"
                )
        own = set(inspect.signature(AlexNet).parameters) - set(
            inspect.signature(network).parameters
        )
        if papers := sorted(own & self.model.keys() - {"num_classes", "width", "dropout"}):
            raise UsageError(
                f"model.{papers[0]}: {self.model[TARGET]} does not take it; it is an option of "
                "AlexNet, as experiment=… and recipe=… may set it"
            )

    def _check_arrangement(self) -> None:
        target = located(self.model, "model")
        self._check_foreign(target)
        network: torch.nn.Module = torch.nn.Identity()
        if _is_a(self.model, "model", *NETWORKS.values()):
            # What its arguments have wrong only together, it says when it is built.
            with torch.device("meta"):
                network = make_network(
                    self.model, classes=1000, input_size=self.data.get("input_size")
                )
        size = self.data.get("input_size", INPUT_SIZE)
        if not reads(target, self.model, size):
            raise UsageError(
                f"data.input_size={size}: {READS}; crops of data.crop_size are enlarged to that"
            )
        if self.has_columns:
            the_network(network)
            self._check_columns()
        elif self.processes > 1 and TARGET not in self.strategy:
            raise UsageError(
                f"trainer.devices={self.trainer['devices']}, trainer.num_nodes="
                f"{self.trainer['num_nodes']}: this trainer takes one device; trainer=ddp and "
                "ddp_cpu take more, two_gpu, two_cpu and columns_ddp those of a network in columns"
            )
        images = described(self.data, "data").get("batch_size") if self.data_are_stored else None
        if images is not None and images % self.replicas:
            raise UsageError(
                f"data.batch_size={images}: {self.replicas} replicas cannot share it equally"
            )
        if self.has_columns:
            micro_batches = described(self.strategy, "strategy")["micro_batches"]
            if images is not None and images // self.replicas % micro_batches:
                raise UsageError(
                    f"strategy.micro_batches={micro_batches}: does not divide the "
                    f"{images // self.replicas} images that each replica has of "
                    f"data.batch_size={images}"
                )

    def _check_columns(self) -> None:
        devices = self.trainer["devices"]
        if devices % COLUMNS:
            raise UsageError(
                f"trainer.devices={devices}: every column needs a device of its own; choose an "
                "even number"
            )
        if self.compile_network:
            raise UsageError(
                "performance=fastest: columns cannot be compiled; use performance=fast"
            )
        if self.trainer["accelerator"] == "auto":
            raise UsageError("trainer.accelerator=auto: choose cpu or gpu for the columns")
        if self.strategy.get("backend") == "nccl" and self.trainer["accelerator"] == "cpu":
            raise UsageError("strategy.backend=nccl: it is for GPUs; auto takes gloo on CPUs")
        if self.trainer.get("precision") == "16-mixed":
            raise UsageError("trainer.precision=16-mixed: the columns take 32-true or bf16-mixed")


def _check_named(node: Node, key: str) -> None:
    if TARGET not in node:
        group, name = key.split(".")
        raise UsageError(
            f"{key}: there is none; add {group}={name}, if that is a file, or {key}._target_=…"
        )


def _counting(
    devices: Count,
    num_nodes: Count,
    accumulate_grad_batches: Count,
    gradient_clip_val: NonNegative | None,
    log_every_n_steps: Natural | None,
    limit_train_batches: NonNegative | None,
    limit_val_batches: NonNegative | None,
    limit_test_batches: NonNegative | None,
) -> None:
    """What these arguments of the Trainer have to be, which it does not say itself."""


def _waiting(timeout: Positive) -> None:
    """What ``strategy.timeout`` has to be, in seconds."""


def trained(optimizer: Node) -> dict[str, Any]:
    """What the node of an optimizer is given: ``network``, or ``params`` as those of torch."""
    return taken(located(optimizer, "optimizer"), network=None, params=None)


def with_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the defaults of what its groups name filled in.

    The classes are those of the data, which only a run knows: they stay as they are.
    """
    filled = dict(values)
    for key in ("model", "data", "optimizer"):
        filled[key] = described(values[key], key)
    filled["model"] |= {name: values["model"].get(name) for name in sizes(values["model"])}
    if "input_size" in filled["model"]:
        filled["model"]["input_size"] = filled["data"].get("input_size")
    if _is_a(values["schedule"], "schedule", Callback):
        filled["schedule"] = described(values["schedule"], "schedule")
    filled["augment"] = asdict(AugmentOptions(**values["augment"]))
    return filled


def _is_a(node: Node, key: str, *classes: type) -> bool:
    """Whether what a node names is one of these classes, or inherits from one."""
    target = located(node, key)
    return inspect.isclass(target) and issubclass(target, classes)
