"""What Hydra 1.3 has to be told and later versions warn of, and what those have to be told."""

from typing import Any

import hydra
from omegaconf import OmegaConf

OF_1_3 = hydra.__version__.startswith("1.3.")

COMPOSING: dict[str, Any] = {"version_base": "1.3"} if OF_1_3 else {}
"""Arguments of ``hydra.main`` and ``initialize_config_dir``: later versions have one behaviour."""

MAIN = COMPOSING if OF_1_3 else {"execution_whitelist": ("alexnet_repro.*", "lightning.*")}
"""Arguments of ``hydra.main``: what a ``_target_`` may name, which 1.3 does not ask."""

# OmegaConf 2.4, which comes with Hydra 1.4, has given the new function the name of the old one.
register_resolver: Any = OmegaConf.register_new_resolver if OF_1_3 else OmegaConf.register_resolver
