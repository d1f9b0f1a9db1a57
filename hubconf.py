"""What ``torch.hub.load("OWNER/REPOSITORY", …)`` finds in this repository.

With a checkout: ``torch.hub.load(FOLDER, "alexnet", source="local")``.
"""

import sys
from pathlib import Path
from typing import Any

import torch

dependencies = ["torch", "torchvision", "pydantic"]

sys.path.insert(0, str(Path(__file__).parent / "src"))


def alexnet(**options: Any) -> torch.nn.Module:
    """The paper's network (Fig. 2), untrained; options are those of ``alexnet_repro.AlexNet``."""
    from alexnet_repro import AlexNet

    return AlexNet(**options)


def classifier(checkpoint: str) -> torch.nn.Module:
    """A trained network that takes RGB 0–255, from a ``.ckpt`` file of train or convert."""
    from alexnet_repro import Classifier, load_trained

    return Classifier.of(load_trained(Path(checkpoint).expanduser()))
