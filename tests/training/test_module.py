"""Loss and error rates are those of §1 and §3: softmax, top-1 and top-5, ten views averaged."""

from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import nll_loss
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_accuracy

from alexnet_repro.base.errors import UsageError
from alexnet_repro.training.module import ErrorRates, ImageClassifier

MakeTrainer = Callable[..., L.Trainer]
CLASSES = 12


def counted_error(scores: Tensor, labels: Tensor, k: int) -> float:
    """Percent of images whose label is not among the k highest scores."""
    highest = np.argsort(-scores.numpy(), axis=1)[:, :k]
    right = [label in row for label, row in zip(labels.numpy(), highest, strict=True)]
    return 100 * (1 - sum(right) / len(right))


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("scores_are", ["logits", "log-probabilities"])
def test_errors_are_the_counted_ones_and_those_of_torchmetrics_over_uneven_batches(
    random: torch.Generator, scores_are: str
) -> None:
    logits = 30 * torch.randn(107, CLASSES, generator=random)
    labels = torch.randint(CLASSES, (107,), generator=random)
    scores = logits if scores_are == "logits" else logits.log_softmax(dim=1)
    errors = ErrorRates(CLASSES)
    for part in torch.arange(107).split(50):
        errors.update(scores[part], labels[part], nll_loss(scores[part], labels[part]))
    found = errors.compute()
    for k in (1, 5):
        assert float(found[f"top{k}_error"]) == pytest.approx(counted_error(logits, labels, k))
        theirs = multiclass_accuracy(scores, labels, CLASSES, average="micro", top_k=k)
        assert float(found[f"top{k}_error"]) == pytest.approx(100 - 100 * float(theirs))
    assert float(found["loss"]) == pytest.approx(float(nll_loss(scores, labels)), rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 5, 1000])
def test_top_5_error_of_five_classes_or_fewer_is_zero(
    random: torch.Generator, classes: int
) -> None:
    scores = torch.randn(40, classes, generator=random)
    errors = ErrorRates(classes)
    errors.update(scores, torch.randint(classes, (40,), generator=random), torch.tensor(0.0))
    assert (float(errors.compute()["top5_error"]) == 0) == (classes <= 5)


def test_more_classes_than_logits_are_told() -> None:
    with pytest.raises(ValueError, match="4 logits, but num_classes=7"):
        ErrorRates(7).update(torch.zeros(2, 4), torch.tensor([0, 1]), torch.tensor(0.0))


class Linear(nn.Sequential):
    """A small network on 4×4 images."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 4 * 4, classes))


@pytest.fixture
def classifier() -> ImageClassifier:
    torch.manual_seed(1)
    return ImageClassifier(
        Linear(CLASSES), CLASSES, lambda network: torch.optim.SGD(network.parameters(), lr=0.1)
    )


@pytest.fixture
def batches(random: torch.Generator) -> list[dict[str, Any]]:
    """Ten views of 16, 16 and 5 images."""
    return [
        {
            "views": list(3 * torch.randn(10, size, 3, 4, 4, generator=random)),
            "label": torch.randint(CLASSES, (size,), generator=random),
        }
        for size in (16, 16, 5)
    ]


@pytest.fixture
def logits(classifier: ImageClassifier, batches: list[dict[str, Any]]) -> Tensor:
    """(10 views, 37 images, classes)."""
    with torch.no_grad():
        views = torch.cat([torch.stack(batch["views"]) for batch in batches], dim=1)
        return torch.stack([classifier.network(view) for view in views]).detach()


@pytest.fixture
def labels(batches: list[dict[str, Any]]) -> Tensor:
    return torch.cat([batch["label"] for batch in batches])


def loader(batches: list[dict[str, Any]]) -> DataLoader[Any]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


@pytest.fixture
def tested(
    trainer: MakeTrainer, classifier: ImageClassifier, batches: list[dict[str, Any]]
) -> dict[str, float]:
    (metrics,) = trainer().test(classifier, loader(batches), verbose=False)
    return dict(metrics)


def test_ten_crop_averages_probabilities_over_the_views(
    tested: dict[str, float], logits: Tensor, labels: Tensor
) -> None:
    exponentials = np.exp(logits.double().numpy())
    probability = (exponentials / exponentials.sum(axis=2, keepdims=True)).mean(axis=0)
    loss = -np.log(probability[np.arange(37), labels.numpy()]).mean()
    assert tested["ten_crop/loss"] == pytest.approx(loss, rel=1e-5)
    for k in (1, 5):
        expected = counted_error(torch.from_numpy(probability), labels, k)
        assert tested[f"ten_crop/top{k}_error"] == pytest.approx(expected, abs=1e-4)


def test_test_metrics_are_those_of_the_first_view(
    tested: dict[str, float], logits: Tensor, labels: Tensor
) -> None:
    assert tested["test/loss"] == pytest.approx(
        float(functional.cross_entropy(logits[0], labels)), rel=1e-5
    )
    for k in (1, 5):
        expected = counted_error(logits[0], labels, k)
        assert tested[f"test/top{k}_error"] == pytest.approx(expected, abs=1e-4)
    assert tested["test/loss"] != pytest.approx(tested["ten_crop/loss"], rel=1e-3)


def test_several_test_loaders_of_ones_own_are_refused(
    trainer: MakeTrainer, classifier: ImageClassifier, batches: list[dict[str, Any]]
) -> None:
    with pytest.raises(UsageError, match="data: it has several test loaders"):
        trainer().test(classifier, [loader(batches), loader(batches)], verbose=False)


def test_validation_metrics_are_those_of_the_view(
    trainer: MakeTrainer,
    classifier: ImageClassifier,
    batches: list[dict[str, Any]],
    logits: Tensor,
    labels: Tensor,
) -> None:
    centre = [{"views": batch["views"][:1], "label": batch["label"]} for batch in batches]
    (metrics,) = trainer().validate(classifier, loader(centre), verbose=False)
    assert set(metrics) == {"val/loss", "val/top1_error", "val/top5_error"}
    loss = float(functional.cross_entropy(logits[0], labels))
    assert metrics["val/loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["val/top1_error"] == pytest.approx(counted_error(logits[0], labels, 1), abs=1e-4)
    assert metrics["val/top5_error"] == pytest.approx(counted_error(logits[0], labels, 5), abs=1e-4)


def test_a_training_step_follows_the_gradient_of_the_cross_entropy(
    trainer: MakeTrainer, classifier: ImageClassifier, batches: list[dict[str, Any]]
) -> None:
    training = [{"image": b["views"][0], "label": b["label"]} for b in batches[:1]]
    linear = classifier.network[1]  # type: ignore[index]
    weight = linear.weight.detach().clone().requires_grad_()
    flat = training[0]["image"].flatten(1)
    loss = functional.cross_entropy(flat @ weight.T + linear.bias.detach(), training[0]["label"])
    loss.backward()
    by_hand = loss.item()
    fit = trainer(max_epochs=1, log_every_n_steps=1)
    validation = [{"views": b["views"][:1], "label": b["label"]} for b in batches[1:]]
    fit.fit(classifier, loader(training), loader(validation))
    assert weight.grad is not None
    torch.testing.assert_close(linear.weight.detach(), weight.detach() - 0.1 * weight.grad)
    assert float(fit.callback_metrics["train/loss"]) == pytest.approx(by_hand, rel=1e-5)
    assert float(fit.callback_metrics["train/step_loss"]) == pytest.approx(by_hand, rel=1e-5)


def test_mixed_images_have_the_smoothed_shares_of_their_classes_and_the_error_of_the_larger(
    classifier: ImageClassifier, random: torch.Generator
) -> None:
    images = torch.randn(8, 3, 4, 4, generator=random)
    labels = torch.randint(CLASSES, (8,), generator=random)
    whole = functional.one_hot(labels, CLASSES).float()
    shares = 0.7 * whole + 0.3 * whole.roll(1, 0)
    classifier.label_smoothing = 0.1
    loss = classifier.training_step({"image": images, "label": shares}, 0).detach()
    logits = classifier.network(images).detach()
    targets = 0.9 * shares + 0.1 / CLASSES
    assert float(loss) == pytest.approx(float(-(targets * logits.log_softmax(1)).sum(1).mean()))
    found = classifier.metrics["train/errors"].compute()
    assert float(found["top1_error"]) == pytest.approx(counted_error(logits, labels, 1))


def test_every_epoch_counts_anew(
    trainer: MakeTrainer,
    classifier: ImageClassifier,
    batches: list[dict[str, Any]],
    labels: Tensor,
) -> None:
    training = [{"image": b["views"][0], "label": b["label"]} for b in batches]
    centre = [{"views": b["views"][:1], "label": b["label"]} for b in batches]
    fit = trainer(max_epochs=3)
    fit.fit(classifier, loader(training), loader(centre))
    # The last validation is that of the trained weights alone.
    with torch.no_grad():
        logits = classifier.network(torch.cat([batch["image"] for batch in training]))
    loss = float(functional.cross_entropy(logits, labels))
    assert float(fit.callback_metrics["val/loss"]) == pytest.approx(loss, rel=1e-5)
    for k in (1, 5):
        expected = counted_error(logits, labels, k)
        found = float(fit.callback_metrics[f"val/top{k}_error"])
        assert found == pytest.approx(expected, abs=1e-4)


def test_what_an_earlier_version_counted_within_an_epoch_is_refused_in_one_line(
    trainer: MakeTrainer, classifier: ImageClassifier
) -> None:
    classifier.trainer = trainer()
    counted = {"train/loss": {"mean_value": torch.tensor(2.0), "weight": torch.tensor(4.0)}}
    with pytest.raises(UsageError, match="within an epoch"):
        classifier.on_load_checkpoint({"counted": counted})
    counted["train/loss"]["weight"] = torch.tensor(0.0)
    classifier.on_load_checkpoint({"counted": counted})


class Operations(TorchDispatchMode):
    """Counts what a GPU would be given to do."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_what_is_counted_of_a_step_is_few_operations(random: torch.Generator) -> None:
    scores = torch.randn(8, CLASSES, generator=random)
    labels = torch.randint(CLASSES, (8,), generator=random)
    errors, loss = ErrorRates(CLASSES), torch.tensor(1.5)
    with Operations() as operations:
        errors.update(scores, labels, loss)
    assert 0 < operations.count <= 10
