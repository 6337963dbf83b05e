"""One trainer for every domain, on top of Lightning: `AdapterModule`, `Procedure`, `Driver`, `fit` and `run`.

Names load on first use, so that reading a configuration costs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from suite.domain import on_use

if TYPE_CHECKING:
    from suite.training.batching import loader
    from suite.training.config import ExperimentConfig, load_config
    from suite.training.driver import Driver, Fit
    from suite.training.drivers.stages import Stage, Stages
    from suite.training.experiment import data_of, evaluate, recipe_of, run
    from suite.training.fitting import fit
    from suite.training.folder import Run
    from suite.training.interruption import Interrupted
    from suite.training.language_model import lm_outputs
    from suite.training.module import AdapterModule
    from suite.training.outputs import Outputs, causal_lm_loss
    from suite.training.procedure import Procedure, regroup
    from suite.training.settings import TrainerConfig

_HOMES = {
    "AdapterModule": "module",
    "Driver": "driver",
    "ExperimentConfig": "config",
    "Fit": "driver",
    "Interrupted": "interruption",
    "Outputs": "outputs",
    "Procedure": "procedure",
    "Run": "folder",
    "Stage": "drivers.stages",
    "Stages": "drivers.stages",
    "TrainerConfig": "settings",
    "causal_lm_loss": "outputs",
    "data_of": "experiment",
    "evaluate": "experiment",
    "fit": "fitting",
    "lm_outputs": "language_model",
    "load_config": "config",
    "loader": "batching",
    "recipe_of": "experiment",
    "regroup": "procedure",
    "run": "experiment",
}

__all__ = [
    "AdapterModule",
    "Driver",
    "ExperimentConfig",
    "Fit",
    "Interrupted",
    "Outputs",
    "Procedure",
    "Run",
    "Stage",
    "Stages",
    "TrainerConfig",
    "causal_lm_loss",
    "data_of",
    "evaluate",
    "fit",
    "lm_outputs",
    "load_config",
    "loader",
    "recipe_of",
    "regroup",
    "run",
]

__getattr__ = on_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
