"""The schema of `conf/train.yaml`, and how a function becomes a command.

The YAML files under ``conf`` hold every default. The classes here hold none: they say which keys
there are, of which type and in which range, so that a mistake is one line naming the key, before
anything slow starts.
"""

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from alexnet_repro.errors import UsageError
from alexnet_repro.network.alexnet import CONV1_STAYS
from alexnet_repro.results.sweep import print_sweep

_PACKAGE = Path(__file__).parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parents[1] / "conf"
"""The configuration files: inside an installed wheel, or at the top of a checkout."""

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Limit = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)]
Instantiated = dict[str, Any]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)
    target: str = Field(alias="_target_", default="")
    partial: bool = Field(alias="_partial_", default=False)


class ResponseNormSchema(_Schema):
    n: Count
    k: Positive
    alpha: NonNegative
    beta: NonNegative
    divide_alpha_by_n: bool


class ModelSchema(_Schema):
    num_classes: Annotated[int, Field(ge=2)] | None
    columns: Literal[1, 2]
    activation: Literal["relu", "tanh"]
    response_norm: ResponseNormSchema | None
    pool: Literal["overlapping", "nonoverlapping"]
    dropout: Fraction
    removed_conv: Literal[2, 3, 4, 5] | None
    sixth_conv: bool
    width: Annotated[float, Field(gt=0, le=16)]
    norm_before_relu_in_conv1: bool
    within_map_norm_in_conv2: bool
    weight_std: dict[str, NonNegative]
    bias: dict[str, float]

    @field_validator("removed_conv", mode="before")
    @classmethod
    def conv1_stays(cls, value: Any) -> Any:
        if value == 1:
            raise ValueError(CONV1_STAYS)
        return value


class DataSchema(_Schema):
    name: str
    source: Instantiated | None
    directory: str | None
    cache_dir: str
    max_damaged: Natural
    image_size: Annotated[int, Field(ge=8)]
    crop_size: Annotated[int, Field(ge=8)]
    input_size: Literal[224]
    batch_size: Count
    num_workers: Natural | None


class AugmentSchema(_Schema):
    random_crop: bool
    reflection: bool
    crop_chunk: Count
    mean_crop: Literal["same_place", "centre"]
    colour_pca: NonNegative
    colour_magnitude: Literal["eigenvalue", "standard_deviation"]
    colour_divisor: Positive


class OptimizerSchema(_Schema):
    lr: NonNegative
    momentum: Fraction
    weight_decay: NonNegative
    bias_lr: NonNegative | None
    bias_weight_decay: bool


class PlateauSchema(_Schema):
    target: Literal["alexnet_repro.learning.schedule.PlateauSchedule"] = Field(alias="_target_")
    epochs: Count
    patience: Count
    threshold: NonNegative
    factor: Annotated[float, Field(gt=0, lt=1)]
    divisions: Natural
    monitor: Literal["val/top1_error", "val/top5_error", "val/loss"]


class ChangeSchema(_Schema):
    epoch: NonNegative
    weights: dict[str, NonNegative] = {}
    biases: dict[str, NonNegative] = {}
    colour_noise: bool = True


class EpochScheduleSchema(_Schema):
    target: Literal["alexnet_repro.learning.schedule.EpochSchedule"] = Field(alias="_target_")
    epochs: Count
    notes_epochs: Positive
    changes: list[ChangeSchema]


class TrainerSchema(_Schema):
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    num_nodes: Count
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    max_epochs: Count
    max_steps: Annotated[int, Field(ge=-1)]
    limit_train_batches: Limit
    limit_val_batches: Limit
    limit_test_batches: Limit
    log_every_n_steps: Count
    deterministic: bool


class StrategySchema(_Schema):
    micro_batches: Count
    replicas: Count | None
    timeout: Positive


class TrainSchema(_Schema):
    """Every key of ``conf/train.yaml``."""

    model: ModelSchema
    data: DataSchema
    augment: AugmentSchema
    optimizer: OptimizerSchema
    schedule: Annotated[PlateauSchema | EpochScheduleSchema, Field(discriminator="target")]
    trainer: TrainerSchema
    strategy: StrategySchema | None
    logger: dict[str, Instantiated]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    resume: str | None
    checkpoint_every_n_steps: Count | None
    summary: bool
    run_name: str

    @model_validator(mode="after")
    def images_come_from_somewhere(self) -> "TrainSchema":
        if self.data.source is None and self.data.directory is None:
            raise ValueError("data=prepared: add data.directory=… (what prepare wrote)")
        return self

    @model_validator(mode="after")
    def crops_fit(self) -> "TrainSchema":
        if self.data.crop_size > self.data.image_size:
            raise ValueError(
                f"data.crop_size={self.data.crop_size}: stored images have only "
                f"data.image_size={self.data.image_size} pixels a side"
            )
        return self

    @model_validator(mode="after")
    def columns_fit_the_devices(self) -> "TrainSchema":
        devices, nodes = self.trainer.devices, self.trainer.num_nodes
        if self.strategy is None:
            if devices * nodes > 1:
                raise ValueError(
                    f"trainer.devices={devices}, trainer.num_nodes={nodes}: this trainer takes one "
                    "device; trainer=two_gpu, two_cpu and columns_ddp take more"
                )
            return self
        if self.model.columns == 1:
            raise ValueError(
                "model.columns=1: the one-GPU net has no second column for a second device; "
                "train it with trainer=auto, cpu or gpu"
            )
        if devices % 2:
            raise ValueError(
                f"trainer.devices={devices}: every column needs a device of its own; choose an "
                "even number"
            )
        replicas = self.strategy.replicas
        if replicas is not None and 2 * replicas != devices * nodes:
            raise ValueError(
                f"strategy.replicas={replicas} of 2 columns need {2 * replicas} devices, but "
                f"trainer.devices={devices} × trainer.num_nodes={nodes} are {devices * nodes}"
            )
        if self.trainer.accelerator == "auto":
            raise ValueError("trainer.accelerator=auto: choose cpu or gpu for the columns")
        if self.trainer.precision == "16-mixed":
            raise ValueError("trainer.precision=16-mixed: the columns take 32-true or bf16-mixed")
        return self

    @model_validator(mode="after")
    def batches_divide(self) -> "TrainSchema":
        if self.strategy is not None:
            replicas = self.trainer.devices * self.trainer.num_nodes // 2
            images, micro_batches = self.data.batch_size, self.strategy.micro_batches
            if images % replicas:
                raise ValueError(
                    f"data.batch_size={images}: {replicas} replicas cannot share it equally"
                )
            if images // replicas % micro_batches:
                raise ValueError(
                    f"strategy.micro_batches={micro_batches}: does not divide the "
                    f"{images // replicas} images that each replica has of data.batch_size={images}"
                )
        return self


class PrepareSchema(_Schema):
    """Every key of ``conf/prepare.yaml``."""

    data: DataSchema
    source: str
    output: str

    @model_validator(mode="after")
    def there_is_something_to_prepare(self) -> "PrepareSchema":
        if "_target_" not in (self.data.source or {}):
            raise ValueError("data=prepared is prepared already; choose data=folder or another")
        return self


def validated(config: DictConfig, schema: type[BaseModel] = TrainSchema) -> dict[str, Any]:
    """The resolved configuration as plain values, checked against ``schema``.

    Raises:
        UsageError: naming every key that is wrong and why.
    """
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0]
        if missing := re.search(r"Missing mandatory value: (\S+)", message):
            # The key itself, or the one that it takes its value from.
            interpolated = "interpolation" in message
            key = missing.group(1) if interpolated else getattr(error, "full_key", "")
            raise UsageError(f"{key} has no default: add {key}=… to the command") from error
        raise UsageError(message) from error
    try:
        schema.model_validate(values)
    except ValidationError as error:
        raise UsageError("; ".join(map(_one_line, error.errors()))) from error
    return values  # type: ignore[return-value]


def _one_line(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith("alexnet_repro"))
    message: str = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such key"
    if error["type"] == "missing":
        return f"{key} is missing"
    if not key:
        return message
    if isinstance(error["input"], dict):
        return f"{key}: {message}"
    return f"{key}={error['input']}: {message[0].lower()}{message[1:]}"


def run_directory(resume: str | None, run_name: str, now: str) -> str:
    """Where a run writes: a new folder, or that of the run which it resumes."""
    if resume is not None:
        # A mistake in resume is told by the command itself; here it would be a Hydra traceback.
        with contextlib.suppress(UsageError):
            checkpoint = checkpoint_to_resume(resume, run_name)
            if checkpoint.parent.name == "checkpoints":
                return str(checkpoint.parent.parent)
    return f"runs/{run_name}/{now}"


def checkpoint_to_resume(resume: str, run_name: str) -> Path:
    """The checkpoint that ``resume=…`` means: a path, or ``last`` of the newest run of that name.

    Raises:
        UsageError: if there is none.
    """
    if resume != "last":
        path = Path(resume).expanduser()
        if not path.is_file():
            raise UsageError(f"resume={resume}: there is no such file; give a .ckpt file or 'last'")
        return path
    found = list(Path("runs", run_name).glob("*/checkpoints/last.ckpt"))
    if not found:
        raise UsageError(
            f"resume=last: no run of {run_name} in {Path('runs', run_name)} has a checkpoint; "
            "start one without resume, or give the path of a .ckpt file"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def experiment_name(choice: str | None, overrides: list[str]) -> str:
    """``alexnet``; or ``demo+ablation_tanh`` for ``experiment=[demo,ablation_tanh]``.

    Hydra reports no choice where several are combined: they are read from the command's overrides.
    """
    if choice is not None:
        return choice
    combined = [o.removeprefix("experiment=") for o in overrides if o.startswith("experiment=[")]
    return combined[-1].strip("[]").replace(" ", "").replace(",", "+") if combined else "custom"


USAGE_EXIT_CODE = 2
SILENT = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=disabled")
"""Overrides for all processes of a run but the first: they write no files and no messages."""


def global_rank() -> int:
    """Number of this process in its run, as torchrun, this package or srun set it; 0 if alone."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", 0)))


OmegaConf.register_new_resolver("experiment_name", experiment_name, replace=True)
OmegaConf.register_new_resolver("run_directory", run_directory, replace=True)


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a Hydra command of a function of its configuration.

    A :class:`UsageError` ends the command with one line and :data:`USAGE_EXIT_CODE`. In a multirun
    Hydra goes on with the other jobs and the command fails at the end, with a table of what became
    of each.
    """

    def decorate(function: Callable[[DictConfig], None]) -> Callable[[], None]:
        @functools.wraps(function)
        def task(config: DictConfig) -> None:
            try:
                function(config)
            except UsageError as error:
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise CompactHydraException(str(error)) from error
                # Of several processes the first one speaks.
                if global_rank() == 0:
                    print(f"error: {error}", file=sys.stderr)
                sys.exit(USAGE_EXIT_CODE)

        hydra_main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(
            task
        )

        @functools.wraps(function)
        def main() -> None:
            if global_rank() > 0:
                sys.argv += SILENT
            try:
                hydra_main()
            finally:
                print_sweep()

        return main

    return decorate
