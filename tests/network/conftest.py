"""Networks that several test modules look at."""

import pytest
import torch

from alexnet_repro.network.alexnet import AlexNet


@pytest.fixture(scope="session")
def paper_network() -> AlexNet:
    """Fig. 2 at full size; tests only read it."""
    torch.manual_seed(0)
    return AlexNet().requires_grad_(False)


@pytest.fixture
def narrow() -> AlexNet:
    """The same network with a tenth of the kernels and ten classes."""
    torch.manual_seed(1)
    return AlexNet(num_classes=10, width=0.1)


@pytest.fixture
def images() -> torch.Tensor:
    """Two images as the network gets them: RGB 0–255 minus a mean."""
    generator = torch.Generator().manual_seed(2)
    return 255 * torch.rand(2, 3, 224, 224, generator=generator) - 120
