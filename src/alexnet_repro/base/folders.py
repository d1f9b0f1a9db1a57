"""A folder of its own for every run."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException


class ClaimedFolder(Callback):
    """Makes the folder of a run or sweep that is named by the clock before Hydra does.

    Runs that start in the same second, on whichever machine, get one each: the second one's has a
    number behind its name. A folder that the user names is taken as it is, and so is one of a run,
    or of a sweep, that ``skip_finished`` lets go on.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        # That of a run which goes on is there already.
        if OmegaConf.select(config, "resume") is None:
            self._claim(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._claim(config, "sweep")

    def _claim(self, config: DictConfig, kind: str) -> None:
        named: Any = OmegaConf.to_container(config.hydra[kind], resolve=False)
        if "${now:" not in named["dir"]:
            return
        HydraConfig.instance().set_config(config)
        goes_on = OmegaConf.select(config, "skip_finished")
        try:
            folder = claimed(Path(config.hydra[kind].dir), BEGUN[kind] if goes_on else None)
        except OmegaConfBaseException:  # Hydra comes to it itself, and raises it
            return
        with read_write(config.hydra):
            config.hydra[kind].dir = str(folder)
            # The jobs of a sweep compose their configurations anew.
            config.hydra.overrides.hydra.append(f"hydra.{kind}.dir='{folder}'")


BEGUN = {"run": "run.json", "sweep": "*/run.json"}
"""What is in a folder once a run, or a job of a sweep, has begun to train."""


def claimed(folder: Path, begun: str | None = None) -> Path:
    """``folder``, or one with a number behind its name, made for the caller alone.

    Args:
        begun: a pattern; the first folder that has such a file is taken as it is.
    """
    mine, number = folder, 1
    while True:
        with suppress(FileExistsError):
            mine.mkdir(parents=True)
            return mine
        if begun is not None and any(mine.glob(begun)):
            return mine
        number += 1
        mine = folder.with_name(f"{folder.name}_{number}")
