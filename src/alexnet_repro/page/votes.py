"""How a network comes to its answer: what each of the ten crops votes for, which column responds.

§5.1: "the network makes a prediction by extracting five 224×224 patches (the four corner patches
and the center patch) as well as their horizontal reflections (hence ten patches in all), and
averaging the predictions made by the network's softmax layer on the ten patches."
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from alexnet_repro.data.preprocess import Pixels
from alexnet_repro.training.checkpoint import Trained, paper_network

PLACES = ("centre", "top left", "top right", "bottom left", "bottom right")
"""Of the first five of ``test_views``; the other five are their reflections."""

ACTIVATIONS = ("_relu", "_tanh")


@dataclass(frozen=True)
class Vote:
    """What the network takes one crop for.

    Attributes:
        place: of the crop in the image, in words.
        pixels: of the crop, (crop, crop, 3).
        label: of the class most probable for this crop alone.
        probability: of that class.
    """

    place: str
    pixels: Pixels
    label: int
    probability: float


@dataclass(frozen=True)
class Answer:
    """What the network takes an image for.

    Attributes:
        labels, probabilities: of the most probable classes, averaged over the crops.
        votes: of the ten crops.
        first_column: the first column's share of each layer's activation, 0 to 1: the sum of the
            magnitudes of what its neurons put out after the nonlinearity, over the ten crops,
            divided by the same sum over both columns. None for a layer in which no neuron
            responds; empty for a network of one column.
    """

    labels: tuple[int, ...]
    probabilities: tuple[float, ...]
    votes: tuple[Vote, ...]
    first_column: dict[str, float | None]


@torch.no_grad()
def answer(trained: Trained, image: Pixels, top: int) -> Answer:
    """The ``top`` most probable classes of a stored image (size, size, 3), and how they came out.

    ``image`` has the size of the images that the network was trained on.
    """
    device = next(trained.network.parameters()).device
    stored = torch.from_numpy(np.array(image)[None]).to(device)
    logits, shares = _run(trained, torch.cat(list(trained.views.test_views(stored, "ten"))))
    probabilities = logits.float().softmax(1).cpu()
    best = probabilities.mean(0).topk(min(top, len(trained.classes)))
    most, labels = probabilities.max(1)
    votes = []
    for number, (top_, left, reflect) in enumerate(
        trained.views.test_places(trained.image_size, "ten")
    ):
        size = trained.views.crop_size
        crop = image[top_ : top_ + size, left : left + size]
        place = PLACES[number % len(PLACES)] + (", reflected" if reflect else "")
        pixels = crop[:, ::-1] if reflect else crop
        votes.append(Vote(place, pixels, int(labels[number]), float(most[number])))
    return Answer(tuple(best.indices.tolist()), tuple(best.values.tolist()), tuple(votes), shares)


def _run(trained: Trained, views: Tensor) -> tuple[Tensor, dict[str, float | None]]:
    """Views (10, 3, input, input) → logits (10, classes), and the first column's shares."""
    network = paper_network(trained)
    shares: dict[str, float | None] = {}
    x = views
    for name, module in network.named_children():
        x = module(x)
        if network.columns == 2 and name.endswith(ACTIVATIONS):
            # Kernels and neurons of the first column are the first half of a layer's.
            first, second = (half.abs().double().sum().item() for half in x.chunk(2, dim=1))
            both = first + second
            shares[name.rpartition("_")[0]] = first / both if both else None
    return x, shares
