"""The LightningModule: loss, error rates and update rule around the network."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from alexnet_repro.network.crops import log_mean, log_probabilities
from alexnet_repro.network.layers import compile_norms
from alexnet_repro.training.checkpoint import load_trained
from alexnet_repro.training.sgd import paper_sgd


def views_and_labels(batch: Any) -> tuple[Iterable[Tensor], Tensor]:
    """Of a batch: views of its images, each (B, 3, input, input), and its labels (B,).

    Args:
        batch: ``(images, labels)``, as most data sets yield; or a mapping with ``label`` and either
            ``image`` or ``views``, as :class:`ImageDataModule` yields.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(batch, Mapping) and "label" in batch and {"views", "image"} & batch.keys():
        return batch["views"] if "views" in batch else [batch["image"]], batch["label"]
    if isinstance(batch, Sequence) and len(batch) == 2:
        images, labels = batch
        return [images], labels
    raise TypeError("a batch has to be (images, labels), or a mapping with image and label")


def images_in(batch: Any) -> int:
    """Images of a training batch, in this process."""
    return len(views_and_labels(batch)[1])


def images_of(trainer: L.Trainer, batch: Any) -> int:
    """Images of a training batch, of all replicas of the network together."""
    shares = getattr(trainer.strategy, "distributed_sampler_kwargs", {"num_replicas": 1})
    replicas: int = shares["num_replicas"]
    return images_in(batch) * replicas


STAGES = ("train", "val", "test", "ten_crop")


class TopKError(MulticlassAccuracy):
    """Top-k error in percent: how often the label is not among the k most probable classes."""

    higher_is_better = False

    def __init__(self, num_classes: int, k: int) -> None:
        # With k classes or fewer, every label is among the k most probable.
        # Checking the values of labels would make a GPU wait for every batch.
        super().__init__(
            num_classes, top_k=min(k, num_classes), average="micro", validate_args=False
        )

    def compute(self) -> Tensor:
        return 100 * (1 - super().compute())


class MeanLoss(MeanMetric):
    """The mean over images of a loss that was measured batch by batch.

    torchmetrics looks for NaN in every update, for which a GPU has to be waited for, and leaves
    them out without a word.
    """

    def update(self, value: Tensor, weight: Tensor | float) -> None:  # type: ignore[override]
        """Add the mean ``value`` of ``weight`` images."""
        self.mean_value += value * weight
        self.weight += weight


class ImageClassifier(L.LightningModule):
    """Trains a network on log-probability of the right class (§3.5, §6), reports errors in percent.

    Logged for each epoch: ``train/…``, ``val/…``, ``test/…`` and ``ten_crop/…`` with ``loss`` (mean
    negative log-likelihood), ``top1_error`` and ``top5_error`` (percent). ``test`` is the centre
    view of the test images, ``ten_crop`` the softmax averaged over their ten views (§5.1), where
    the data have more than one. Batches are what :func:`views_and_labels` takes: those of
    :class:`ImageDataModule`, or ``(images, labels)`` of any loader.

    Args:
        network: any module, images (B, 3, input, input) → logits (B, num_classes).
        num_classes: classes of the data.
        optimizer: from the network to its optimizer.
        seed: dropout masks are a function of it, the step and the process, so a resumed run draws
            the same, and the halves of a layer that two processes hold draw different ones.
        scheduler: from the optimizer and the Trainer to what Lightning takes as ``lr_scheduler``;
            None where a callback, such as :class:`PlateauSchedule`, sets the learning rate.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        optimizer: Callable[[nn.Module], Optimizer] = paper_sgd,
        seed: int = 0,
        scheduler: Callable[[Optimizer, L.Trainer], Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters("num_classes", "seed", logger=False)
        self._scheduler = scheduler
        self.images_tested = 0
        self.seed = seed
        self.network = network.to(memory_format=torch.channels_last)
        self._optimizer = optimizer
        self.metrics = nn.ModuleDict()
        for stage in STAGES:
            self.metrics[f"{stage}/loss"] = MeanLoss()
            self.metrics[f"{stage}/top1_error"] = TopKError(num_classes, k=1)
            self.metrics[f"{stage}/top5_error"] = TopKError(num_classes, k=5)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: Any = None, **arguments: Any
    ) -> Self:
        """The module of a checkpoint: a network of this package as its configuration says.

        Args:
            map_location: of the weights, as ``torch.load`` takes it.
            arguments: others of the constructor. A network that is not of this package is among
                them, ``network=resnet18(num_classes=10)``, and so are an optimizer and a scheduler
                if training is to go on with others than the default.

        Raises:
            UsageError: if there is no such checkpoint, it is damaged, or its network is none of
                this package's and is not given.
        """
        path = Path(checkpoint_path)
        if "network" not in arguments:
            trained = load_trained(path)
            arguments["network"] = trained.network.train()
            arguments.setdefault("num_classes", len(trained.classes))
        return super().load_from_checkpoint(path, map_location, **arguments)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.network)
        # Without a Trainer nothing says how long a schedule is to be.
        if self._scheduler is None or self._trainer is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": self._scheduler(optimizer, self.trainer),
        }

    def on_train_start(self) -> None:
        compile_norms(self.network, self.trainer.estimated_stepping_batches)

    def on_train_epoch_end(self) -> None:
        # Lightning shows a schedule the metric after the epoch's checkpoint is saved, which would
        # lack that step: it is shown here, before.
        whole = self.trainer.is_last_batch  # not cut short by trainer.max_steps
        for config in self.trainer.lr_scheduler_configs:
            due = (self.trainer.current_epoch + 1) % config.frequency == 0
            if isinstance(config.scheduler, ReduceLROnPlateau) and due and whole:
                config.scheduler.step(self.trainer.callback_metrics[str(config.monitor)])

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # A CPU generator reads only the low 32 bits of a seed: mix all three into them.
        numbers = [self.seed, self.global_rank, self.global_step]
        # Without a Trainer every batch is a step.
        batches = 1 if self._trainer is None else self.trainer.accumulate_grad_batches
        if batches > 1:
            numbers.append(batch_idx % batches)
        mixed = np.random.SeedSequence(numbers)
        torch.manual_seed(int(mixed.generate_state(1)[0]))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (images,), label = views_and_labels(batch)
        logits = self(images).float()
        loss = cross_entropy(logits, label)
        # A batch that may be skipped is no part of the epoch's mean.
        finite = loss.detach().isfinite()
        mean = torch.where(finite, loss.detach(), 0.0)
        self._count("train", logits.detach(), label, mean, finite * len(logits))
        self.log("train/step_loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def on_validation_epoch_end(self) -> None:
        # Validation closes a training epoch; logged here, both are there for every callback.
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self._log_epoch("train")
        self._log_epoch("val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("test", batch)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Logits (B, classes) of the images of a batch, with labels or without."""
        if not isinstance(batch, Tensor):
            batch = next(iter(views_and_labels(batch)[0]))
        return self(batch)  # type: ignore[no-any-return]

    def on_test_epoch_end(self) -> None:
        loss = self._metric("test/loss")
        with loss.sync_context():
            self.images_tested = int(loss.weight)  # type: ignore[arg-type]
        # A replica with no share of the last images logs what the others do.
        ten = self._metric("ten_crop/loss").update_called
        ten = self.trainer.strategy.reduce_boolean_decision(ten, all=False)
        for stage in ("test", "ten_crop") if ten else ("test",):
            self._log_epoch(stage)

    def _evaluate(self, stage: str, batch: Any) -> None:
        images, label = views_and_labels(batch)
        views = log_probabilities(self, images)
        self._count(stage, views[0], label, nll_loss(views[0], label))
        if stage == "test" and len(views) > 1:
            ten_crop = log_mean(views)
            self._count("ten_crop", ten_crop, label, nll_loss(ten_crop, label))

    def _count(
        self,
        stage: str,
        scores: Tensor,
        label: Tensor,
        loss: Tensor,
        images: Tensor | int | None = None,
    ) -> None:
        self._metric(f"{stage}/loss").update(loss, len(label) if images is None else images)
        self._metric(f"{stage}/top1_error").update(scores, label)
        self._metric(f"{stage}/top5_error").update(scores, label)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Within an epoch: what was counted so far, by all replicas together."""
        counted = {}
        for name, metric in self._training_metrics():
            with metric.sync_context():
                counted[name] = {
                    state: value.cpu()
                    for state, value in metric.metric_state.items()
                    if isinstance(value, Tensor)
                }
        checkpoint["counted"] = counted

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._trainer is None:  # loaded to be used, not to go on
            return
        # The first replica goes on with all that was counted, the others begin at zero.
        if getattr(self.trainer.strategy, "distributed_sampler_kwargs", {"rank": 0})["rank"] > 0:
            return
        for name, metric in self._training_metrics():
            for state, value in checkpoint.get("counted", {}).get(name, {}).items():
                setattr(metric, state, value.to(self.device))

    def _training_metrics(self) -> list[tuple[str, Metric]]:
        return [
            (name, metric)
            for name, metric in self.metrics.items()
            if name.startswith("train/") and isinstance(metric, Metric)
        ]

    def _log_epoch(self, stage: str) -> None:
        for quantity in ("loss", "top1_error", "top5_error"):
            metric = self._metric(f"{stage}/{quantity}")
            self.log(f"{stage}/{quantity}", metric.compute())
            metric.reset()

    def _metric(self, name: str) -> Metric:
        metric = self.metrics[name]
        assert isinstance(metric, Metric)
        return metric
