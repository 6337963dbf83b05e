"""What a domain is: the contract that every folder under `domains/` fills in. Imports no torch.

A domain is found through the package `domains` or through the entry-point group `suite.domains`. From its `Domain`
alone come the commands `suite <domain> train | predict | evaluate | count | demo`, its row in the documentation and
its run of the contract test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Task:
    """The parts of one task, each an import string `package.module:Name`, loaded on use.

    Attributes:
        recipe: `suite.training.AdapterModule` subclass: what is adapted, the loss, the metrics it logs.
        data: `lightning.LightningDataModule` subclass: readers of the real on-disk formats.
        predictor: `Predictor` class: from what users hold to what they want.
        query: dataclass of what one prediction may be asked for; its fields are the options of `predict`.
        result: `Result` class.
    """

    recipe: str
    data: str
    predictor: str
    query: str
    result: str


@dataclass(frozen=True)
class Domain:
    """A domain of the suite.

    Attributes:
        name: the folder and command name, e.g. `relation_extraction`.
        title: one line for people.
        extra: the extra of the distribution that installs what it needs.
        tasks: its tasks by name; the first is the default, chosen by `task:` in a config.
        verbs: its own or overridden verbs: name to the import string of a typed function whose signature gives the
            options, whose docstring gives the help, and which returns something JSON can hold. Modules named here
            import torch only inside functions, so that `--help` stays fast.
    """

    name: str
    title: str
    extra: str
    tasks: Mapping[str, Task]
    verbs: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Result(Protocol):
    """What one input gave: either its outcome, or `error`, the one line that says why there is none."""

    source: str
    error: str | None

    def to_dict(self) -> dict[str, Any]: ...

    def save(self, folder: str | Path) -> list[Path]:
        """Write everything a user wants to keep of this result into `folder`; return the files written."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """From what users hold to what they want, with a base and an adapter loaded once."""

    @classmethod
    def from_pretrained(
        cls, adapter: str = "tiny", base: str | None = None, device: str = "auto", dtype: str = "auto"
    ) -> Predictor: ...

    def predict(self, inputs: Any, **options: Any) -> Iterator[Result]:
        """Yield one result per input, in order; a bad input yields a result with `error` and the next one goes on."""
        ...


def load(reference: str) -> Any:
    """Import what `package.module:Name` names.

    Raises:
        ValueError: the reference has no colon.
        ModuleNotFoundError, AttributeError: it names nothing.
    """
    module, separator, name = reference.partition(":")
    if not separator:
        raise ValueError(f"{reference!r} is not an import string; write package.module:Name")
    return getattr(import_module(module), name)
