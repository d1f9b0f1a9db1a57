"""The sweeper of ``sweep=learning_rate``, in the package in which Hydra looks for sweepers."""

from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from alexnet_repro.base.config import opened


class AlexNetSearch(Sweeper):
    """A search by Optuna, which launches its trials as Hydra's jobs: ``conf/hydra/sweeper/search``.

    Args:
        params: the values that are searched, by key; overrides of the command line are added.
        n_jobs: trials that are launched at a time.
        warmup_epochs: read by :func:`alexnet_repro.training.pruning.pruning`.
        search: the arguments of :class:`alexnet_repro.search.Search`, but for the values.
    """

    def __init__(self, params: DictConfig, n_jobs: int, warmup_epochs: int, **search: Any) -> None:
        self.params, self.n_jobs, self.search = params, n_jobs, search

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self._config, self._loader = config, hydra_context.config_loader
        self._launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        # Every command imports this file, to know which sweepers there are: Optuna comes later.
        from alexnet_repro.search import Search

        directory = Path(self._config.hydra.sweep.dir)
        directory.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, directory / "multirun.yaml")
        params = [f"{key!s}={values}" for key, values in self.params.items()]
        overrides = OverridesParser.create(self._loader).parse_overrides([*params, *arguments])
        by_key = {override.get_key_element().lstrip("+"): override for override in overrides}
        fixed = [str(o.input_line) for o in by_key.values() if not o.is_sweep_override()]
        searched = {key: o for key, o in by_key.items() if o.is_sweep_override()}
        search = Search(searched, **self.search)
        while trials := search.next_trials(self.n_jobs):
            jobs = [
                [*(opened(f"{key}={value}") for key, value in trial.params.items()), *fixed]
                for trial in trials
            ]
            # A job has the number of its trial, and so has its folder.
            search.tell(trials, self._launcher.launch(jobs, initial_job_idx=trials[0].number))
        search.record(directory)
