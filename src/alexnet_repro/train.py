"""Train a network: ``python -m alexnet_repro.train experiment=ablation_no_lrn``."""

from omegaconf import DictConfig

from alexnet_repro.config import command, validated


@command("train")
def main(config: DictConfig) -> float | None:
    values = validated(config)
    if values["summary"]:
        from alexnet_repro.network.summary import print_summary

        print_summary(values["model"])
        return None
    # Lightning takes seconds to import: a mistake in the configuration is told before.
    from alexnet_repro.learning.run import train

    return train(values)


if __name__ == "__main__":
    main()
