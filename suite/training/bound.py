"""`fit` bound to one run: what a driver is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.training import procedures
from suite.training.fitting import fit
from suite.training.folder import Run, RunFolder
from suite.training.module import AdapterModule
from suite.training.randomness import derive
from suite.training.settings import TrainerConfig


@dataclass
class BoundFit:
    """Trains inside one run folder with the run's settings and data; the `Fit` of drivers.

    Attributes:
        folder: the folder of the whole run.
        config: the run's settings.
        data: the run's data, where a call names none.
        record: the run's configuration.
        procedures: the run's changes of the procedure, as its configuration states them; every training has its own.
        resuming: whether the run is being resumed.
    """

    folder: Path
    config: TrainerConfig
    data: Any
    record: dict[str, Any]
    procedures: Sequence[Mapping[str, Any]] = ()
    resuming: bool = False

    def __call__(self, recipe: AdapterModule, data: Any = None, *, name: str | None = None, **overrides: Any) -> Run:
        """Train once; see `suite.training.driver.Fit`."""
        run = RunFolder(self.folder if name is None else self.folder / name)
        started = self.resuming and run.state_file.is_file()
        seed = self.config.seed if name is None else derive(self.config.seed, "stage", name)
        config = dataclasses.replace(self.config, **{"seed": seed, **overrides})
        return fit(
            recipe,
            self.data if data is None else data,
            config,
            procedures.build(self.procedures),
            resume=run.path if started else None,
            folder=run.path,
            record=self._record(config, name),
            label=name or "training",
            part_of=self.folder,
        )

    def _record(self, config: TrainerConfig, name: str | None) -> dict[str, Any]:
        """What `config.yaml` of this training says: the run's configuration, and what a sub-run changes of it."""
        if name is None:
            return self.record
        trainer = dataclasses.asdict(config)
        return {**self.record, "seed": trainer.pop("seed"), "trainer": trainer, "stage": name}
