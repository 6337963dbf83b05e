"""What a domain is: the contract that every folder under `domains/` fills in. Imports no torch.

A domain is found through the package `domains` or through the entry-point group `suite.domains`. From its `Domain`
alone come the commands `suite <domain> train | predict | evaluate | count | demo`, its row in the documentation and
its run of the contract test.
"""

from __future__ import annotations

import difflib
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from suite.errors import InputError

ENTRY_POINTS = "suite.domains"


@dataclass(frozen=True)
class Alias:
    """Another name of a command-line option: `paradigm: Annotated[str, Alias("protocol")]` takes `--protocol` too."""

    name: str


class Whole(str):
    """The kind of an option's value that may hold commas, of which several are given by giving the option again."""


@dataclass(frozen=True)
class QueryTraits:
    """What a task's query says of its inputs and runs, each by a class variable of the same name.

    Attributes:
        takes_text: an input may be text itself. takes_words: it may be a single word.
        takes_streams: it may be a camera or the address of a stream.
        takes_patterns: it may have wildcards, which the predictor resolves.
        takes_stdin: it may be `-`, standard input.
        resumes: `predict` takes `resume`, the folder of an interrupted run, and `overwrite`.
        keeps: without a folder for them, results go into one of their own.
        loading: the options that `from_pretrained` takes instead of `predict`.
    """

    takes_text: bool = False
    takes_words: bool = False
    takes_streams: bool = False
    takes_patterns: bool = False
    takes_stdin: bool = True
    resumes: bool = False
    keeps: bool = False
    loading: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: type) -> Self:
        """Those of a query's class."""
        names = (trait.name for trait in fields(cls))
        return cls(**{name: getattr(query, name) for name in names if hasattr(query, name)})


@dataclass(frozen=True)
class Task:
    """The parts of one task, each an import string `package.module:Name`, loaded on use.

    Attributes:
        recipe: `suite.training.AdapterModule` subclass: what is adapted, the loss, the metrics it logs.
        data: `lightning.LightningDataModule` subclass: readers of the real on-disk formats.
        predictor: `Predictor` class: from what users hold to what they want.
        query: dataclass of what one prediction may be asked for; its fields are the options of `predict`, and its
            class variables are `QueryTraits`.
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
        tasks: its tasks by name; the first is the default, chosen by `task:` in a config. A domain without any has no
            model yet, and its own verbs alone.
        verbs: its own or overridden verbs: name to the import string of a typed function whose signature gives the
            options, whose docstring gives the help, and which returns something JSON can hold. Modules named here
            import torch only inside functions, so that `--help` stays fast.
        load_base: import string of `load_base(folder: Path) -> nn.Module`, the model in a base's folder that adapters
            sit on; empty where that is a transformers model, of the class that its config.json names.
        save_base: import string of `save_base(model: nn.Module, out: Path, source: Path) -> None`, which fills the
            empty folder `out` with the base of the folder `source`, the model's weights in the place of its own.
        check_merge: import string of `check_merge(adapter: Path) -> None`, which refuses the folder of an adapter that
            no ordinary model can hold folded in, and says what to do instead; empty where there is none.
        scorer: import string of `scorer(config: ExperimentConfig) -> Callable[[Path], Mapping[str, float]]`, for a
            domain whose trained adapters say what they reach in no pass over validation batches: several in turn,
            pictures drawn. What it returns scores an adapter's folder on held-out data; the first figure ranks, higher
            being better. It refuses a configuration that has nothing to score on.
    """

    name: str
    title: str
    extra: str
    tasks: Mapping[str, Task]
    verbs: Mapping[str, str] = field(default_factory=dict)
    load_base: str = ""
    save_base: str = ""
    check_merge: str = ""
    scorer: str = ""


@runtime_checkable
class Result(Protocol):
    """What one input gave: either its outcome, or `error`, the one line that says why there is none.

    It may have an `exit_code`: what the command ends with where no input was wrong and none gave less; and
    `standing_notices`, lines `note: ...` of its text that hold for every input and are printed once.
    """

    @property
    def source(self) -> str: ...

    @property
    def error(self) -> str | None: ...

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
        """Yield one result per input, in order; a bad input yields a result with `error` and the next one goes on.

        A predictor that says something of all results together, or can go on where it was interrupted, also takes
        `out`, a path or a `suite.prediction.folder.ResultFolder`, and writes every result through it.
        """
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


def discover() -> dict[str, Domain]:
    """Return every domain by name: those of the package `domains`, then those that other distributions ship.

    A foreign domain that cannot be imported, or that takes a name already given, is left out with a warning: it must
    not take the command down for all the others.
    """
    found: dict[str, Domain] = {}
    package = import_module("domains")
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__) if info.ispkg):
        domain: Domain = import_module(f"domains.{module}").DOMAIN
        found[domain.name] = domain
    for point in entry_points(group=ENTRY_POINTS):
        if point.module.partition(".")[0] == "domains":
            continue
        try:
            domain = point.load()
        except Exception as error:
            warnings.warn(f"domain {point.name} ({point.value}) cannot be loaded: {error}", stacklevel=2)
            continue
        if domain.name in found:
            warnings.warn(f"domain {domain.name} of {point.value} is left out: the name is taken", stacklevel=2)
            continue
        found[domain.name] = domain
    return found


def find(name: str) -> Domain:
    """Return the domain called `name`.

    Raises:
        InputError: there is none of that name.
    """
    found = discover()
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(found)}"
        raise InputError(f"no domain is called {name!r}; {advice}")
    return found[name]


def on_use(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__` that imports what it exports when it is first asked for.

    Args:
        package: the package's `__name__`.
        names: the module of the package that holds each exported name.
    """

    def exported(name: str) -> Any:
        if name in names:
            return getattr(import_module(f"{package}.{names[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return exported
