"""The ten crops, and what is said of them, against the same computed step by step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from alexnet_repro.page.votes import answer
from alexnet_repro.training.checkpoint import Trained, load_trained


@pytest.fixture(scope="module")
def trained(tiny_run: Path) -> Trained:
    return load_trained(tiny_run / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def image(trained: Trained) -> np.ndarray:
    size = trained.image_size
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_the_crops_are_corners_and_centre_and_their_reflections(
    trained: Trained, image: np.ndarray
) -> None:
    """Each beside what Pillow cuts out of the same image."""
    picture = Image.fromarray(image)
    size = picture.width
    corner = {"left": 0, "top": 0, "right": size - 224, "bottom": size - 224}
    votes = answer(trained, image, 5).votes
    assert len({vote.place for vote in votes}) == 10
    for vote in votes:
        place, *reflected = vote.place.split(", ")
        y, x = (corner[word] for word in place.split()) if " " in place else [(size - 224) // 2] * 2
        crop = picture.crop((x, y, x + 224, y + 224))
        expected = ImageOps.mirror(crop) if reflected else crop
        np.testing.assert_array_equal(vote.pixels, np.asarray(expected))


def test_the_votes_are_what_the_network_says_of_each_crop_alone(
    trained: Trained, image: np.ndarray
) -> None:
    """Of the crop's own pixels minus the mean image there, a crop at a time."""
    found = answer(trained, image, 3)
    mean = trained.views.mean.numpy()
    half = (trained.image_size - 224) // 2
    centre = (
        image[half : half + 224, half : half + 224] - mean[half : half + 224, half : half + 224]
    )
    for vote, pixels in ((found.votes[0], centre), (found.votes[5], centre[:, ::-1])):
        x = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float()
        with torch.no_grad():
            probabilities = trained.network(x).double().softmax(1)[0]
        assert vote.label == int(probabilities.argmax())
        assert vote.probability == pytest.approx(float(probabilities.max()), abs=1e-5)
    assert sum(found.probabilities) == pytest.approx(1, abs=1e-5)


def test_a_columns_share_is_its_part_of_the_activation(tiny_run: Path, image: np.ndarray) -> None:
    """Against hooks on the layers; all of it where the other is off, none where both are."""
    trained = load_trained(tiny_run / "checkpoints" / "last.ckpt")
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    sums: dict[str, np.ndarray] = {}

    def remember(layer: str):
        def hook(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
            maps = output.detach().abs().double().flatten(2) if output.dim() > 2 else output
            by_map = maps.sum((0, 2)) if maps.dim() > 2 else maps.double().sum(0)
            sums[layer] = by_map.numpy()

        return hook

    hooks = [
        trained.network.get_submodule(f"{layer}_relu").register_forward_hook(remember(layer))
        for layer in layers
    ]
    shares = answer(trained, image, 1).first_column
    for hook in hooks:
        hook.remove()
    assert tuple(shares) == layers
    for layer, by_map in sums.items():
        half = len(by_map) // 2
        assert shares[layer] == pytest.approx(by_map[:half].sum() / by_map.sum(), rel=1e-6)

    network = trained.network
    with torch.no_grad():
        network.conv4.weight.zero_()
        network.conv4.bias.fill_(-1.0)  # no neuron of conv4 responds
        half = len(network.conv5.bias) // 2
        network.conv5.bias[:half], network.conv5.bias[half:] = 1.0, -1.0
    shares = answer(trained, image, 1).first_column
    assert shares["conv4"] is None
    assert shares["conv5"] == 1
