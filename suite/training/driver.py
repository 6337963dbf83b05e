"""Loops around training: search, rounds, several adapters in turn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from suite.training.settings import TrainerConfig

if TYPE_CHECKING:
    from suite.training.folder import Run
    from suite.training.module import AdapterModule


class Fit(Protocol):
    """The training call that a driver gets, bound to the run's folder, settings, procedures and resume.

    Attributes:
        folder: the folder of the whole run.
        config: the run's settings.
    """

    folder: Path
    config: TrainerConfig

    def __call__(self, recipe: AdapterModule, data: Any = None, *, name: str | None = None, **overrides: Any) -> Run:
        """Train once.

        Args:
            recipe: what to train.
            data: what on; None is the run's data.
            name: train in the sub-folder of this name with a seed derived from it; a training that had already
                finished there is not repeated when the run is resumed.
            **overrides: fields of `TrainerConfig` that differ from the run's.
        """
        ...


@runtime_checkable
class Driver(Protocol):
    """Decides what is trained, how often and in what order."""

    def run(self, fit: Fit) -> Run: ...
