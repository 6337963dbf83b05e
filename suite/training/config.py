"""The configuration of an experiment: one YAML file that says everything. Imports no torch.

domain: relation_extraction
base: tiny
seed: 42
recipe: {r: 8}
data: {path: ./documents.json}
trainer: {max_epochs: 3}
procedures: [mezo]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from suite.errors import InputError
from suite.files import read_text
from suite.training import procedures
from suite.training.names import check_names
from suite.training.settings import TrainerConfig

FREE = ("recipe", "data", "architecture")
"""Sections whose keys only the domain knows."""


@dataclass(frozen=True)
class ExperimentConfig:
    """What to train, on what, how.

    Attributes:
        domain: which domain.
        task: which of its tasks; None is its first.
        base: reference of the base model, in the hub's grammar.
        seed: of everything random.
        recipe: arguments of the task's recipe, besides `base` and `architecture`.
        data: arguments of the task's data module.
        trainer: how to train; its seed is always the experiment's.
        procedures: changes of the training procedure, outermost first: each a `name` and its settings.
        architecture: class and configuration of the base, for counting without its weights.
        source: the file it was read from.
    """

    domain: str
    task: str | None = None
    base: str = "tiny"
    seed: int = 42
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    procedures: tuple[Mapping[str, Any], ...] = ()
    architecture: Mapping[str, Any] | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "trainer", dataclasses.replace(self.trainer, seed=self.seed))

    def record(self) -> dict[str, Any]:
        """Everything as plain values; `load_config` reads it back to the same experiment."""
        trainer = dataclasses.asdict(self.trainer)
        del trainer["seed"]
        record: dict[str, Any] = {
            "domain": self.domain,
            "task": self.task,
            "base": self.base,
            "seed": self.seed,
            "recipe": dict(self.recipe),
            "data": dict(self.data),
            "trainer": trainer,
        }
        if self.procedures:
            record["procedures"] = [dict(entry) for entry in self.procedures]
        if self.architecture is not None:
            record["architecture"] = dict(self.architecture)
        return record


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read a configuration file.

    Args:
        path: YAML file.
        overrides: dotted changes as on the command line: `["--trainer.max_epochs", "3"]` or `["--trainer.lr=1e-3"]`.

    Raises:
        InputError: the file cannot be read, a key is unknown (the nearest is named) or a value has the wrong type.
    """
    path = Path(path)
    content = _read(path)
    for name, value in _pairs(overrides):
        _assign(content, name, value)
    return config_of(content, path)


def config_of(content: dict[str, Any], path: Path) -> ExperimentConfig:
    """The configuration in a file's content; `path` names the file in messages.

    Raises:
        InputError: a key is unknown (the nearest is named) or a value has the wrong type.
    """
    content = dict(content)
    _check_keys(content, path)
    changes = procedures.read(content.pop("procedures", None), str(path))
    parser = _parser()
    try:
        parsed = parser.parse_object(content)
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: {_one_line(error)}") from error
    values = parser.instantiate(parsed).as_dict()
    free = {name: content.get(name) for name in FREE}
    return ExperimentConfig(
        domain=values["domain"],
        task=values["task"],
        base=values["base"],
        seed=values["seed"],
        recipe=free["recipe"] or {},
        data=free["data"] or {},
        trainer=values["trainer"],
        procedures=changes,
        architecture=free["architecture"],
        source=path,
    )


def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--domain", type=str, required=True)
    parser.add_argument("--task", type=str | None, default=None)
    parser.add_argument("--base", type=str, default="tiny")
    parser.add_argument("--seed", type=int, default=42)
    for name in FREE:
        parser.add_argument(f"--{name}", type=dict[str, Any] | None, default=None)
    parser.add_class_arguments(TrainerConfig, "trainer", skip={"seed"})
    return parser


def _read(path: Path) -> dict[str, Any]:
    if not path.exists() or path.is_dir():
        raise InputError(f"no configuration file {path}; give a .yaml file, e.g. one of configs/")
    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid YAML: {_one_line(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no configuration; it needs at least `domain:`")
    return content


def _check_keys(content: Mapping[str, Any], path: Path) -> None:
    fields = [f.name for f in dataclasses.fields(ExperimentConfig) if f.name != "source"]
    check_names(content, fields, str(path))
    for name in (*FREE, "trainer"):
        if content.get(name) is not None and not isinstance(content[name], dict):
            raise InputError(f"{path}: {name} is {content[name]!r}; it is a section of keys and values")
    trainer = content.get("trainer") or {}
    if "seed" in trainer:
        raise InputError(f"{path}: the seed stands at the top level; write `seed: {trainer['seed']}` there")
    check_names(trainer, [f.name for f in dataclasses.fields(TrainerConfig) if f.name != "seed"], f"{path}: trainer")


def _pairs(overrides: Sequence[str]) -> Iterable[tuple[str, Any]]:
    """Names and YAML values of `--a.b value` and `--a.b=value`."""
    waiting = list(overrides)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise InputError(f"cannot read {word!r}; changes of the configuration look like --trainer.max_epochs 3")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not waiting:
                raise InputError(f"--{name} has no value; write --{name} VALUE")
            text = waiting.pop(0)
        try:
            yield name, yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--{name} {text}: not a YAML value: {_one_line(error)}") from error


def _assign(content: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, name = dotted.split(".")
    for section in sections:
        if content.get(section) is None:
            content[section] = {}
        content = content[section]
        if not isinstance(content, dict):
            raise InputError(f"--{dotted}: {section} is no section; only sections have keys")
    content[name] = value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
