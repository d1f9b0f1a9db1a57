"""What every logger is given beside metrics: configuration, learning rate, errors, pictures."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)
from torch import Tensor

from alexnet_repro.data.datamodule import ImageDataModule
from alexnet_repro.training.checkpoint import Trained
from alexnet_repro.training.curve import curve_of
from alexnet_repro.training.loggers import attempt

SHOWN = 16
"""Test images of which predictions are shown, of all classes in turn."""

ENLARGED = 4
"""Pixels a side that show one weight; a kernel of 11 would be hard to see."""

Picture = npt.NDArray[np.uint8]


class Logged(Callback):
    """Gives loggers what Lightning does not; without any it does nothing.

    After every epoch ``lr``, the largest of any layer's weights, and ``kernels``, those of the
    first convolution as in Fig. 3, the averaged ones where weights are averaged. After the test
    ``predictions``, :data:`SHOWN` test images with their most probable classes as in Fig. 4. The
    test errors are the metrics of the hyperparameters, by which TensorBoard compares runs.

    The CSV file gets numbers only: the configuration lies beside it.

    Args:
        config: of the run.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):
                logger.log_hyperparams(self.config)

    # Within validation, whose weights they are. All processes come here: each may hold a part.
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        first = batch_idx == 0 and trainer.state.fn == "fit" and not trainer.sanity_checking
        if first and shows_pictures(trainer) and (kernels := first_kernels(pl_module)) is not None:
            show(trainer, "kernels", kernel_pixels(kernels))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            for logger in trainer.loggers:
                logger.log_metrics({"lr": curve_of(trainer).rate}, step=trainer.global_step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if shows_pictures(trainer) and isinstance(trainer.datamodule, ImageDataModule):  # type: ignore[attr-defined]
            data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
            show(trainer, "predictions", prediction_pixels(data, pl_module, self.config))
        errors = {
            name: float(error)
            for name, error in trainer.callback_metrics.items()
            if name.startswith(("test/", "ten_crop/"))
        }
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                attempt(logger, logger.log_hyperparams, self.config, errors, trainer.global_step)


def shows_pictures(trainer: L.Trainer) -> bool:
    """Whether one of its loggers does."""
    kinds = (WandbLogger, TensorBoardLogger, MLFlowLogger)
    return any(isinstance(logger, kinds) for logger in trainer.loggers)


def show(trainer: L.Trainer, name: str, pixels: Picture) -> None:
    """Give a picture (height, width, 3) to every logger that shows pictures."""
    for logger in trainer.loggers if trainer.is_global_zero else ():
        attempt(logger, _show, logger, name, pixels, trainer.global_step)


def _show(logger: Logger, name: str, pixels: Picture, step: int) -> None:
    if isinstance(logger, WandbLogger):
        logger.log_image(name, [pixels], step)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(name, pixels, step, dataformats="HWC")
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, pixels, key=name, step=step)


def first_kernels(module: L.LightningModule) -> Tensor | None:
    """The first weights that read an image: kernels (kernels, 3, h, w), of all processes."""
    for weight in module.parameters():
        if weight.ndim == 4 and weight.shape[1] == 3:
            return weight.full_tensor() if hasattr(weight, "full_tensor") else weight
    return None


def kernel_pixels(kernels: Tensor) -> Picture:
    """Kernels (kernels, 3, h, w) as a picture (height, width, 3), as in Fig. 3."""
    from alexnet_repro.figures.fig3_kernels import kernel_tiles

    kernels = kernels.detach().double().cpu()
    if len(kernels) % 2:  # no two halves: a narrow one-GPU net
        kernels = torch.cat([kernels, torch.zeros_like(kernels[:1])])
    pixels = (255 * kernel_tiles(kernels.numpy())).round().astype(np.uint8)
    return pixels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def prediction_pixels(
    data: ImageDataModule, module: L.LightningModule, config: dict[str, Any]
) -> Picture:
    """Test images with their most probable classes as a picture (height, width, 3), as in Fig. 4.

    Every process that holds a part of the network has to ask for it.
    """
    # matplotlib takes a second to import.
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from alexnet_repro.figures.fig4_examples import draw_predictions, stored_examples
    from alexnet_repro.figures.paper_style import paper_style

    trained = Trained(
        path=Path(),
        network=module,
        views=data.augmentation.to(module.device),
        image_size=data.image_size,
        classes=data.classes,
        words=data.store.words,
        epoch=module.current_epoch,
        config=config,
    )
    examples = stored_examples(data.store, data.test_split, SHOWN, seed=0)
    with paper_style():
        canvas: Any = FigureCanvasAgg(draw_predictions(trained, examples))
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
