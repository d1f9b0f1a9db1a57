"""Networks for other programs: ``python -m alexnet_repro.export to=onnx checkpoint=… output=…``."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alexnet_repro.config import command, validated
from alexnet_repro.schema.export import ExportSchema


@command("export")
def main(config: DictConfig) -> None:
    values = validated(config, ExportSchema)
    from alexnet_repro.interchange.export import export

    export(values, HydraConfig.get().overrides.task)


if __name__ == "__main__":
    main()
