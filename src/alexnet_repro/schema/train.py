"""The schema of ``python -m alexnet_repro.train``."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from alexnet_repro.schema.base import (
    Count,
    DataSchema,
    Fraction,
    Limit,
    Natural,
    NonNegative,
    Positive,
    Precision,
    Schema,
)
from alexnet_repro.schema.network import AlexNetSchema, CifarNetSchema, ModelSchema

Layer = Annotated[str, Field(pattern=r"^(conv|local|fc)\d+$|^others$")]


class AugmentSchema(Schema):
    random_crop: bool
    reflection: bool
    crop_chunk: Count
    mean_crop: Literal["same_place", "centre"]
    colour_pca: NonNegative
    colour_magnitude: Literal["eigenvalue", "standard_deviation"]
    colour_divisor: Positive


class OptimizerSchema(Schema):
    lr: NonNegative
    momentum: Fraction
    weight_decay: NonNegative | dict[Layer, NonNegative]
    bias_lr: NonNegative | None
    bias_weight_decay: bool


class PlateauSchema(Schema):
    target: Literal["alexnet_repro.learning.schedule.PlateauSchedule"] = Field(alias="_target_")
    epochs: Count
    patience: Count
    threshold: NonNegative
    factor: Annotated[float, Field(gt=0, lt=1)]
    divisions: Natural
    monitor: Literal["val/top1_error", "val/top5_error", "val/loss"]


class ChangeSchema(Schema):
    epoch: NonNegative
    weights: dict[str, NonNegative] = Field(default_factory=dict)
    biases: dict[str, NonNegative] = Field(default_factory=dict)
    colour_noise: bool = True


class EpochScheduleSchema(Schema):
    target: Literal["alexnet_repro.learning.schedule.EpochSchedule"] = Field(alias="_target_")
    epochs: Count
    notes_epochs: Positive
    changes: list[ChangeSchema]


class TrainerSchema(Schema):
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count
    num_nodes: Count
    precision: Precision
    max_epochs: Count
    max_steps: Annotated[int, Field(ge=-1)]
    limit_train_batches: Limit
    limit_val_batches: Limit
    limit_test_batches: Limit
    log_every_n_steps: Count
    deterministic: bool


class ColumnsSchema(Schema):
    micro_batches: Count
    replicas: Count | None
    timeout: Positive


class OneDeviceSchema(Schema):
    micro_batches: Any
    replicas: Any
    timeout: Any


def _kind(strategy: Any) -> str:
    columns = isinstance(strategy, dict) and "_target_" in strategy
    return "alexnet_repro columns" if columns else "alexnet_repro one device"


StrategySchema = Annotated[
    Annotated[ColumnsSchema, Tag("alexnet_repro columns")]
    | Annotated[OneDeviceSchema, Tag("alexnet_repro one device")],
    Discriminator(_kind),
]


def _normalizes_across_columns(model: AlexNetSchema) -> bool:
    return model.response_norm is not None and model.response_norm.columns < model.columns


class LoggerSchema(Schema):
    """What the loggers of ``conf/logger`` take; others may take more."""

    model_config = ConfigDict(extra="allow")
    save_dir: str
    name: str | None = None
    project: str | None = None
    group: str | None = None
    checkpoints: bool = False
    mode: Literal["online", "offline"] | None = None


class TrainSchema(Schema):
    """Every key of ``conf/train.yaml``."""

    model: ModelSchema
    data: DataSchema
    augment: AugmentSchema
    optimizer: OptimizerSchema
    schedule: Annotated[PlateauSchema | EpochScheduleSchema, Field(discriminator="target")]
    trainer: TrainerSchema
    strategy: StrategySchema
    logger: dict[str, LoggerSchema]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    resume: str | None
    init_from: str | None
    init_layers: list[str] | None
    checkpoint_every_n_steps: Count | None
    on_nonfinite: Literal["stop", "skip"]
    summary: bool
    skip_finished: bool
    run_name: str

    @field_validator("init_from")
    @classmethod
    def weights_are_given(cls, value: str | None) -> str | None:
        if value == "":
            raise ValueError("the experiment needs weights to start from; add init_from=PATH")
        return value

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
    def crops_are_what_the_network_reads(self) -> "TrainSchema":
        size = self.data.input_size
        if not isinstance(self.model, CifarNetSchema) and size not in (224, 227):
            raise ValueError(
                f"data.input_size={size}: the network reads 224×224 pixels (§4.5), or Caffe's 227; "
                "crops of data.crop_size are enlarged to that"
            )
        return self

    @model_validator(mode="after")
    def columns_fit_the_devices(self) -> "TrainSchema":
        devices, nodes = self.trainer.devices, self.trainer.num_nodes
        if isinstance(self.strategy, OneDeviceSchema):
            for key in ("micro_batches", "replicas", "timeout"):
                if (value := getattr(self.strategy, key)) is not None:
                    raise ValueError(
                        f"strategy.{key}={value}: this trainer has the whole network on one "
                        "device; choose trainer=two_gpu, two_cpu or columns_ddp"
                    )
            if devices * nodes > 1:
                raise ValueError(
                    f"trainer.devices={devices}, trainer.num_nodes={nodes}: this trainer takes one "
                    "device; trainer=two_gpu, two_cpu and columns_ddp take more"
                )
            return self
        if not isinstance(self.model, AlexNetSchema):
            raise ValueError(
                f"model._target_={self.model.target}: this network has no columns; train it with "
                "trainer=auto, cpu or gpu"
            )
        if self.model.columns == 1:
            raise ValueError(
                "model.columns=1: the one-GPU net has no second column for a second device; "
                "train it with trainer=auto, cpu or gpu"
            )
        if _normalizes_across_columns(self.model):
            raise ValueError(
                "model.response_norm.columns=1: Caffe's windows cross from one column to the "
                "other, which two devices cannot; train it with trainer=auto, cpu or gpu"
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
        if isinstance(self.strategy, ColumnsSchema):
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
