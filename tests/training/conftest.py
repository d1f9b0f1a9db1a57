"""Small Lightning runs that several test modules make."""

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest


@pytest.fixture
def trainer() -> Callable[..., L.Trainer]:
    """A silent trainer on the CPU that writes nothing."""

    def make(**options: Any) -> L.Trainer:
        silent: dict[str, Any] = {
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
        }
        return L.Trainer(**(silent | options))

    return make
