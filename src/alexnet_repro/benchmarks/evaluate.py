"""What ten crops cost beside one (§5.1)."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch

from alexnet_repro import AlexNet
from alexnet_repro.benchmarks.report import Measured
from alexnet_repro.benchmarks.step import fastest_device
from alexnet_repro.benchmarks.timing import Contender, interleaved
from alexnet_repro.data.augment import Augmentation
from alexnet_repro.data.statistics import Statistics
from alexnet_repro.learning.module import log_mean, log_probabilities
from alexnet_repro.memory import keep_freed_memory
from alexnet_repro.network.ten_crop import crop_logits

SIZE, CROP = 256, 224


def evaluate(batch_size: int, rounds: int) -> Iterator[Measured]:
    """Stored images to averaged log-probabilities, on the device.

    Args:
        batch_size: images.
        rounds: of timing.
    """
    keep_freed_memory()
    device = fastest_device()
    network = AlexNet().to(device).to(memory_format=torch.channels_last).eval()
    statistics = Statistics(np.full((SIZE, SIZE, 3), 128.0), np.ones(3), np.eye(3))
    views = Augmentation(statistics, CROP, CROP).to(device)
    random = torch.Generator().manual_seed(0)
    shape = (batch_size, SIZE, SIZE, 3)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=random).to(device)

    def classify(crops: Literal["centre", "ten"], fast: bool) -> Callable[[], object]:
        @torch.inference_mode()
        def run() -> object:
            with torch.autocast(device.type, torch.bfloat16, enabled=fast):
                return log_mean(log_probabilities(crop_logits(network, views, images, crops)))

        return run

    for performance in ("exact", "fast"):
        centre, ten = interleaved(
            [
                Contender(f"{crops} crop", classify(crops, performance == "fast"), batch_size)
                for crops in ("centre", "ten")
            ],
            rounds,
        )
        yield Measured(
            f"Evaluating {batch_size} images, performance={performance}",
            [centre.row(), ten.row()],
            {"ten crops, times one": round(1 / (ten.times_faster_than(centre)), 2)},
        )
