"""Train a network: ``python -m alexnet_repro.train experiment=ablation_no_lrn``."""

from omegaconf import DictConfig

from alexnet_repro.base.config import command


@command("train", lists=("init_layers", "resume_with"))
def main(config: DictConfig) -> float | None:
    # Lightning takes seconds to import: what Hydra itself finds wrong is told before.
    from alexnet_repro.training.run import train

    return train(config)


if __name__ == "__main__":
    main()
