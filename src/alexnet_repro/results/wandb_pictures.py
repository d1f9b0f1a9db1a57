"""What a W&B run shows beside curves: the kernels of conv1, and what is made of test images."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
import wandb
from lightning.pytorch.callbacks import Callback

from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.learning.checkpoint_file import LAST
from alexnet_repro.results.loggers import Wandb
from alexnet_repro.seeing.kernel_pictures import kernel_tiles

SHOWN = 16
"""Test images of which predictions are shown, evenly over the split."""

ENLARGED = 4
"""Pixels a side that show one weight; a kernel of 11 would be hard to see."""

COLUMNS = ("image", "label", *(f"{what} {rank}" for rank in (1, 2, 3) for what in ("class", "p")))


class WandbPictures(Callback):
    """Logs pictures to the W&B run of a training, if it has one.

    ``kernels``: those of conv1 after every epoch, as in Fig. 3 (of a network whose columns are on
    two devices, those of the first). ``predictions``: a table of :data:`SHOWN` test images with
    their most probable classes by the centre view. ``checkpoints``: an artifact with ``best.ckpt``
    and ``last.ckpt``, if the logger keeps them.

    Args:
        directory: of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if (logger := wandb_of(trainer)) and trainer.state.fn == "fit":
            # torchvision's network has no layer of that name.
            weight = dict(pl_module.named_parameters()).get("network.conv1.weight")
            if weight is not None:
                step = {"trainer/global_step": trainer.global_step}
                logger.experiment.log({"kernels": wandb.Image(kernel_pixels(weight))} | step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        stored = isinstance(trainer.datamodule, ImageDataModule)  # type: ignore[attr-defined]
        if stored and (logger := wandb_of(trainer)):
            table = wandb.Table(list(COLUMNS), predictions(trainer, pl_module))
            logger.experiment.log({"predictions": table})
            if logger.checkpoints:
                artifact = wandb.Artifact(f"{logger.experiment.id}-checkpoints", "model")
                for name in ("best.ckpt", LAST):
                    artifact.add_file(str(self.directory / "checkpoints" / name))
                logger.experiment.log_artifact(artifact)


def wandb_of(trainer: L.Trainer) -> Wandb | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, Wandb)), None)


def kernel_pixels(kernels: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Kernels (kernels, 3, h, w) as a picture (height, width, 3), as in Fig. 3."""
    kernels = kernels.detach().double().cpu()
    if len(kernels) % 2:  # no two halves: a narrow one-GPU net
        kernels = torch.cat([kernels, torch.zeros_like(kernels[:1])])
    pixels = (255 * kernel_tiles(kernels.numpy())).round().astype(np.uint8)
    return pixels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


@torch.no_grad()
def predictions(trainer: L.Trainer, module: L.LightningModule) -> list[list[Any]]:
    """A row of :data:`COLUMNS` for each image that is shown."""
    data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
    split = data.store.splits[data.test_split]
    indices = np.linspace(0, len(split) - 1, min(SHOWN, len(split))).round().astype(int)
    images = np.stack([split.image(index) for index in indices])
    augmentation = data.augmentation.to(module.device)
    (view,) = augmentation.test_views(torch.from_numpy(images).to(module.device), "centre")
    best = module(view).float().softmax(1).topk(min(3, len(data.classes)))
    rows = []
    for image, label, p, classes in zip(
        images, split.labels[indices], best.values.tolist(), best.indices.tolist(), strict=True
    ):
        ranked = [cell for c, value in zip(classes, p, strict=True) for cell in (c, value)]
        ranked[::2] = [data.classes[c] for c in ranked[::2]]
        ranked += [None] * (len(COLUMNS) - 2 - len(ranked))
        rows.append([wandb.Image(image), data.classes[label], *ranked])
    return rows
