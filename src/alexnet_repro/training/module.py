"""The LightningModule: loss, error rates and update rule around the network."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import Metric

from alexnet_repro.base.errors import UsageError
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


STAGES = ("train", "val", "test", "ten_crop", "train_centre")


class ErrorRates(Metric):
    """Mean loss, and top-1 and top-5 error in percent, of the images of an epoch.

    Both errors come from one ``topk`` and are counted on the device: no host waits for them. Two
    metrics of torchmetrics' own take five times as many operations, which at a small batch is what
    a GPU waits for.
    """

    full_state_update = False
    loss: Tensor
    images: Tensor
    placed: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        # With five classes or fewer, every label is among the five most probable.
        self.places, self.classes = min(5, num_classes), num_classes
        self.add_state("loss", torch.tensor(0.0), "sum")
        self.add_state("images", torch.tensor(0.0), "sum")
        self.add_state("placed", torch.zeros(self.places, dtype=torch.long), "sum")

    def update(self, scores: Tensor, label: Tensor, loss: Tensor) -> None:
        """Count a batch.

        Args:
            scores: logits or log-probabilities (B, classes).
            label: (B,).
            loss: its mean over the batch.

        Raises:
            ValueError: if there are not as many scores as classes.
        """
        if scores.shape[1] != self.classes:
            raise ValueError(f"{scores.shape[1]} logits, but num_classes={self.classes}")
        right = scores.topk(self.places).indices == label[:, None]
        self.placed += right.sum(0)
        self.loss += loss * len(label)
        self.images += len(label)

    def compute(self) -> dict[str, Tensor]:
        return {
            "loss": self.loss / self.images,
            "top1_error": 100 * (1 - self.placed[0] / self.images),
            "top5_error": 100 * (1 - self.placed.sum() / self.images),
        }


class ImageClassifier(L.LightningModule):
    """Trains a network on log-probability of the right class (§3.5, §6), reports errors in percent.

    Logged for each epoch: ``train/…`` and ``val/…``, and of a test ``test/…``, with ``loss`` (mean
    negative log-likelihood), ``top1_error`` and ``top5_error`` (percent). ``test`` is the centre
    view of the test images, ``ten_crop`` the softmax averaged over their ten views (§5.1), where
    the data have more than one, ``train_centre`` the centre view of the training images that an
    :class:`ImageDataModule` adds to a test. Batches are what :func:`views_and_labels` takes: those
    of :class:`ImageDataModule`, or ``(images, labels)`` of any loader.

    Args:
        network: any module, images (B, 3, input, input) → logits (B, num_classes).
        num_classes: classes of the data.
        optimizer: from the network to its optimizer.
        seed: dropout masks are a function of it, the step and the process, so a resumed run draws
            the same, and the halves of a layer that two processes hold draw different ones.
        scheduler: from the optimizer and the Trainer to what Lightning takes as ``lr_scheduler``;
            None where a callback, such as :class:`PlateauSchedule`, sets the learning rate.
        label_smoothing: share of a label that is spread over all classes in training.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        optimizer: Callable[[nn.Module], Optimizer] = paper_sgd,
        seed: int = 0,
        scheduler: Callable[[Optimizer, L.Trainer], Any] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters("num_classes", "seed", logger=False)
        self._scheduler = scheduler
        self.label_smoothing = label_smoothing
        self.images_tested: dict[str, int] = {}
        self.seed = seed
        self.network = network.to(memory_format=torch.channels_last)
        self._optimizer = optimizer
        self.metrics = nn.ModuleDict(
            {f"{stage}/errors": ErrorRates(num_classes) for stage in STAGES}
        )

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
        compile_norms(self.trainer.estimated_stepping_batches)

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
        seed = int(mixed.generate_state(1)[0])
        if self.device.type in ("cpu", "cuda"):
            # torch.manual_seed goes through every kind of device, which takes longer than a step of
            # a small network.
            torch.default_generator.manual_seed(seed)
            if self.device.type == "cuda":
                torch.cuda.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        (images,), label = views_and_labels(batch)
        logits = self(images).float()
        loss = cross_entropy(logits, label, label_smoothing=self.label_smoothing)
        # Of a mixed image, its error is that of the larger part.
        label = label.argmax(1) if label.dim() > 1 else label
        self._errors("train").update(logits.detach(), label, loss.detach())
        if self._is_logged():
            self.log("train/step_loss", loss, on_step=True, on_epoch=False)
        return loss

    def _is_logged(self) -> bool:
        """Whether loggers are given what this step logs."""
        every = 0 if self._trainer is None else self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        return bool(every) and (self.global_step + 1) % every == 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def on_validation_epoch_end(self) -> None:
        # Validation closes a training epoch; logged here, both are there for every callback.
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self._log_epoch("train")
        self._log_epoch("val")

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if dataloader_idx and not getattr(data, "tests_training_images", False):
            raise UsageError("data: it has several test loaders; only one can be tested")
        self._evaluate("train_centre" if dataloader_idx else "test", batch)

    def on_test_start(self) -> None:
        self.images_tested = {}

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Logits (B, classes) of the images of a batch, with labels or without."""
        if not isinstance(batch, Tensor):
            batch = next(iter(views_and_labels(batch)[0]))
        return self(batch)  # type: ignore[no-any-return]

    def on_test_epoch_end(self) -> None:
        for stage in ("test", "ten_crop", "train_centre"):
            errors = self._errors(stage)
            # A replica with no share of the last images logs what the others do.
            if self.trainer.strategy.reduce_boolean_decision(errors.update_called, all=False):
                with errors.sync_context():
                    self.images_tested[stage] = int(errors.images)
                self._log_epoch(stage)

    def _evaluate(self, stage: str, batch: Any) -> None:
        images, label = views_and_labels(batch)
        views = log_probabilities(self, images)
        self._errors(stage).update(views[0], label, nll_loss(views[0], label))
        if stage == "test" and len(views) > 1:
            ten_crop = log_mean(views)
            self._errors("ten_crop").update(ten_crop, label, nll_loss(ten_crop, label))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Within an epoch: what was counted so far, by all replicas together."""
        errors = self._errors("train")
        with errors.sync_context():
            states = cast(dict[str, Tensor], errors.metric_state)
            checkpoint["counted"] = {name: value.cpu() for name, value in states.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._trainer is None:  # loaded to be used, not to go on
            return
        # The first replica goes on with all that was counted, the others begin at zero.
        if getattr(self.trainer.strategy, "distributed_sampler_kwargs", {"rank": 0})["rank"] > 0:
            return
        errors, counted = self._errors("train"), checkpoint.get("counted", {})
        if "train/loss" in counted and counted["train/loss"]["weight"]:
            raise UsageError(
                "resume: an earlier version wrote this checkpoint within an epoch, and counted "
                "errors in another way; resume from one of an epoch's end"
            )
        for name in errors.metric_state.keys() & counted.keys():
            setattr(errors, name, counted[name].to(self.device))

    def _log_epoch(self, stage: str) -> None:
        errors = self._errors(stage)
        self.log_dict({f"{stage}/{name}": value for name, value in errors.compute().items()})
        errors.reset()

    def _errors(self, stage: str) -> ErrorRates:
        return cast(ErrorRates, self.metrics[f"{stage}/errors"])
