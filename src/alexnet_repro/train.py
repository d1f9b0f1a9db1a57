"""Train a network: ``python -m alexnet_repro.train experiment=ablation_no_lrn``."""

from omegaconf import DictConfig

from alexnet_repro.base.build import TARGET, check
from alexnet_repro.base.config import command, resolved


@command("train", lists=("init_layers", "resume_with"))
def main(config: DictConfig) -> float | None:
    # Lightning takes seconds to import: what can be told without it is told before.
    values = resolved(config)
    for key, given in (("model", ("num_classes", "input_size")), ("optimizer", ("network",))):
        if str(values[key].get(TARGET)).startswith("alexnet_repro."):
            check(values[key], key, *given)
    from alexnet_repro.training.run import train

    return train(values)


if __name__ == "__main__":
    main()
