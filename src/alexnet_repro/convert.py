"""Take networks of other programs: ``python -m alexnet_repro.convert from=caffe source=…``."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.convert import ConvertSchema


@command("convert")
def main(config: DictConfig) -> None:
    values = validated(config, ConvertSchema)
    from alexnet_repro.interchange.conversion import convert

    convert(values, HydraConfig.get().overrides.task)


if __name__ == "__main__":
    main()
