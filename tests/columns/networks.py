"""The small networks and batches that one process and several compute the same of."""

import os
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from alexnet_repro import AlexNet
from alexnet_repro.network.torchvision_alexnet import TorchvisionAlexNet
from alexnet_repro.training.module import ImageClassifier
from alexnet_repro.training.sgd import PaperSGD, paper_sgd

CLASSES = 7  # odd: the first column has one more than the second
IMAGES = 4
STEPS = 3
EPOCH = 3  # steps
VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {},
    "no_lrn": {"response_norm": None},
    "remove_conv2": {"removed_conv": 2},
    "remove_conv3": {"removed_conv": 3},
    "remove_conv4": {"removed_conv": 4},
    "remove_conv5": {"removed_conv": 5},
    "six_conv": {"sixth_conv": True},
    "tanh": {"activation": "tanh"},
    "nonoverlapping": {"pool": "nonoverlapping"},
    "source2012": {
        "norm_before_relu_in_conv1": True,
        "within_map_norm_in_conv2": True,
        "response_norm": {"divide_alpha_by_n": True},
    },
}
SEVERAL_STEPS = ("paper", "no_lrn", "remove_conv3", "six_conv")
STD = {"conv1": 0.002, "conv2": 0.1, "conv3": 0.1, "conv4": 0.1, "conv5": 0.1, "conv6": 0.1}
STD |= {"fc6": 0.06, "fc7": 0.07, "fc8": 0.07}


def whole_networks() -> dict[str, nn.Module]:
    """Networks of every kind that replicas are made of, narrow and in double precision."""
    torch.manual_seed(5)
    one = AlexNet(CLASSES, columns=1, width=0.1, weight_std=STD, dropout=0.0)
    torchvision = TorchvisionAlexNet(CLASSES, dropout=0.0)
    for number, sizes in {1: (256 * 6 * 6, 32), 4: (32, 32), 6: (32, CLASSES)}.items():
        torchvision.classifier[number] = nn.Linear(*sizes)
    made = {"two columns": network(), "one column": one, "torchvision": torchvision}
    return {name: net.double().to(memory_format=torch.channels_last) for name, net in made.items()}


def steps(variant: str) -> int:
    return STEPS if variant in SEVERAL_STEPS else 1


def network(variant: str = "paper", dropout: float = 0.0) -> AlexNet:
    """A narrow network in double precision, whose signal keeps its size from layer to layer."""
    torch.manual_seed(5)
    options = {"num_classes": CLASSES, "width": 0.1, "weight_std": STD} | VARIANTS[variant]
    bias = dict.fromkeys(("conv2", "conv4", "conv5", "conv6", "fc6", "fc7"), 0.1)
    net = AlexNet(dropout=dropout, bias=bias, **options).double()
    return net.to(memory_format=torch.channels_last)


def batch(step: int, images: int = IMAGES) -> tuple[Tensor, Tensor]:
    """Images (images, 3, 224, 224) and labels (images,) of a step."""
    random = torch.Generator().manual_seed(step)
    pixels = 60 * torch.randn(images, 3, 224, 224, generator=random, dtype=torch.float64)
    label = torch.randint(CLASSES, (images,), generator=random)
    return pixels.to(memory_format=torch.channels_last), label


def optimizer(net: nn.Module) -> PaperSGD:
    return paper_sgd(
        net, lr=2e-4, momentum=0.9, weight_decay=5e-4, bias_lr=None, bias_weight_decay=True
    )


def trained(net: nn.Module, whole: Callable[[Tensor], Tensor], steps: int) -> dict[str, Any]:
    """Logits, loss and gradients of the first step, and losses, weights and velocities of
    ``steps``.

    Args:
        whole: a parameter or its gradient → all of it, where this process has a part.
    """
    update = optimizer(net)
    found: dict[str, Any] = {"losses": []}
    for step in range(steps):
        images, label = batch(step)
        logits = net(images)
        loss = cross_entropy(logits, label)
        update.zero_grad()
        loss.backward()
        found["losses"].append(loss.detach())
        if step == 0:
            found["logits"] = logits.detach().clone()
            found["gradients"] = {
                name: whole(parameter.grad).clone() for name, parameter in net.named_parameters()
            }
        update.step()
    found["weights"] = {name: whole(p.detach()).clone() for name, p in net.named_parameters()}
    found["velocities"] = {
        name: whole(update.state[p]["velocity"]).clone() for name, p in net.named_parameters()
    }
    with torch.no_grad():
        found["uneven"] = net(batch(99, images=3)[0]).clone()
    return found


class InDoublePrecision(ImageClassifier):
    """The module of the package, whose loss is of 32 bits, with one of 64.

    It keeps the losses of all steps, and the gradients of the first one.
    """

    def on_fit_start(self) -> None:
        self.losses: list[Tensor] = []
        self.gradients: dict[str, Tensor] = {}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = cross_entropy(self(batch["image"]), batch["label"])
        self.losses.append(loss.detach())
        return loss

    def on_after_backward(self) -> None:
        for name, parameter in self.network.named_parameters():
            if len(self.losses) == 1 and parameter.grad is not None:
                self.gradients[name] = parameter.grad.clone()


def fitted(
    strategy: Strategy | str,
    start: str | None,
    output: str,
    replica: int = 0,
    replicas: int = 1,
    accelerator: str = "cpu",
    net: nn.Module | None = None,
    steps: int = EPOCH,
) -> InDoublePrecision:
    """Train one epoch with Lightning: the next ``steps`` of those of :func:`trained`.

    Args:
        strategy: over as many processes as torchrun started.
        start: a checkpoint to go on from, of whole epochs.
        output: checkpoint to write.
        replica, replicas: this process trains on that part of how many of every batch.
        accelerator: ``cpu``, or ``gpu`` for a GPU in each process.
        net: in double precision; None for :func:`network`.
    """
    done = torch.load(start, weights_only=True)["global_step"] if start else 0
    shares = []
    for step in range(done, done + steps):
        images, label = (part.chunk(replicas)[replica] for part in batch(step))
        shares.append({"image": images, "label": label})
    trainer = L.Trainer(
        accelerator=accelerator,
        devices=int(os.environ.get("WORLD_SIZE", 1)),
        strategy=strategy,
        max_epochs=done // steps + 1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    module = InDoublePrecision(network() if net is None else net, CLASSES, optimizer)
    trainer.fit(module, DataLoader(shares, batch_size=None), ckpt_path=start, weights_only=True)
    trainer.save_checkpoint(output, weights_only=False)
    return module
