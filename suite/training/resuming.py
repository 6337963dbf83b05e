"""What may be different when a run goes on, and what must be as it was started. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from suite.errors import InputError
from suite.training.folder import RunFolder
from suite.training.settings import TrainerConfig

ENDS = ("max_epochs", "max_steps")
MAY_CHANGE = frozenset(
    {
        *(f"trainer.{name}" for name in ENDS),
        # What is written, and how often.
        *(f"trainer.{name}" for name in ("checkpoint_every", "keep_every", "keep_last", "log_every")),
        # Where and how the same numbers are computed.
        *(f"trainer.{name}" for name in ("accelerator", "strategy", "compile", "gradient_checkpointing")),
        *(f"trainer.{name}" for name in ("deterministic", "patience")),
    }
)
"""Settings that a resumed run takes as they now are; every other one decides what the run's steps compute."""

_DEVICES = frozenset({"trainer.devices", "trainer.num_nodes"})


def check_same(run: RunFolder, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Refuse to go on with another configuration than the run was started with.

    Args:
        run: the run.
        before: the configuration that it was started with, by sections.
        after: the one that it is to go on with.

    Raises:
        InputError: something differs that may not; both values are named.
    """
    different = dict(_differences(_plain(before), _plain(after)))
    # Batches are of all devices together; their sampler refuses another size in its turn.
    if _global_batch(before) == _global_batch(after):
        different = {name: values for name, values in different.items() if name not in _DEVICES | {"data.batch_size"}}
    wrong = {name: values for name, values in different.items() if name not in MAY_CHANGE}
    if wrong:
        listed = ", ".join(f"{name} was {_shown(old)} and is now {_shown(new)}" for name, (old, new) in wrong.items())
        raise InputError(
            f"{run.path} goes on only with what it was started with: {listed}; set it back, or start a new run"
        )


def goes_on(run: RunFolder, config: TrainerConfig) -> bool:
    """Whether a run has steps left to do: it has not finished, or its end has been moved.

    Training settings are compared here for calls of `fit`; `run` has compared everything before.

    Raises:
        InputError: the settings differ in what may not change.
    """
    started = run.started_with()
    if started is None:
        return not run.finished
    before, after = trainer_of(started), dataclasses.asdict(config)
    # A loader that is given to `fit` says nothing of its batches here; its sampler knows.
    known = {name: value for name, value in before.items() if f"trainer.{name}" not in _DEVICES}
    check_same(run, {"trainer": known}, {"trainer": {name: after[name] for name in known}})
    return not run.finished or any(before[name] != after[name] for name in ENDS)


def trainer_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's settings in a run's configuration, its seed among them; what is not there is the default."""
    known = {field.name for field in dataclasses.fields(TrainerConfig)}
    stated = {name: value for name, value in (record.get("trainer") or {}).items() if name in known}
    return {**dataclasses.asdict(TrainerConfig()), **stated, "seed": record.get("seed", TrainerConfig.seed)}


def check_end(run: RunFolder, config: TrainerConfig, checkpoint: Mapping[str, Any]) -> None:
    """Refuse an end that the run has gone past.

    Raises:
        InputError: it has.
    """
    done = {"max_epochs": int(checkpoint["epoch"]) + 1, "max_steps": int(checkpoint["global_step"])}
    for name, number in done.items():
        if 0 < getattr(config, name) < number:
            raise InputError(
                f"trainer.{name} is {getattr(config, name)}, and {run.path} has got to {number}; give at least that"
            )


def _differences(before: Any, after: Any, name: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Dotted names of what differs, sections alone being gone through."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from _differences(before.get(key), after.get(key), f"{name}.{key}" if name else key)
    elif before != after:
        yield name, (before, after)


def _global_batch(record: Mapping[str, Any]) -> Any:
    trainer, data = record.get("trainer") or {}, record.get("data") or {}
    try:
        return data["batch_size"] * trainer["devices"] * trainer["num_nodes"]
    except (KeyError, TypeError):
        return (data.get("batch_size"), trainer.get("devices"), trainer.get("num_nodes"))


def _plain(record: Mapping[str, Any]) -> Any:
    """As JSON has it: no difference between a tuple and a list, or a path and its text."""
    return json.loads(json.dumps(record, default=str))


def _shown(value: Any) -> str:
    return "null" if value is None else json.dumps(value, ensure_ascii=False)
