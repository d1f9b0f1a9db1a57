"""What ``torch.hub.load("OWNER/REPOSITORY", …)`` finds in this repository.

With a checkout: ``torch.hub.load(FOLDER, "imagenette", source="local")``.
"""

import sys
from pathlib import Path
from typing import Any

import torch

dependencies = ["torch", "torchvision", "lightning", "pydantic", "safetensors"]

sys.path.insert(0, str(Path(__file__).parent / "src"))


def alexnet(**options: Any) -> torch.nn.Module:
    """The paper's network (Fig. 2), untrained; options are those of ``alexnet_repro.AlexNet``."""
    from alexnet_repro import AlexNet

    return AlexNet(**options)


def classifier(checkpoint: str) -> torch.nn.Module:
    """A trained network that takes RGB 0–255: a ``.ckpt`` file or the folder of a run."""
    from alexnet_repro import Classifier, load_trained
    from alexnet_repro.base.checkpoints import find_checkpoint

    return Classifier.of(load_trained(find_checkpoint(checkpoint)))


def imagenette() -> torch.nn.Module:
    """A narrow AlexNet trained on the ten classes of Imagenette (``results/imagenette``)."""
    return classifier("imagenette")
