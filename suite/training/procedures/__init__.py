"""Changes of the training procedure, one file each: `procedures: [name]` in a configuration finds `<name>.py` here.

Importing this package imports no torch.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from suite.errors import InputError
from suite.training.names import check_names

if TYPE_CHECKING:
    from suite.training.procedure import Procedure


def names() -> list[str]:
    """The procedures that ship with the suite."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def read(section: Any, where: str) -> tuple[dict[str, Any], ...]:
    """The section `procedures` of a configuration, each entry as a mapping with `name` and its settings.

    Args:
        section: one entry or a list; an entry is a name, or a mapping with `name` and the settings. A name is one of
            `names`, or `package.module:Class` for one of your own.
        where: what messages call the file.

    Raises:
        InputError: it is nothing of this kind, or names what does not exist.
    """
    entries = section if isinstance(section, list) else [] if section is None else [section]
    found = []
    for entry in entries:
        settings = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(settings, dict) or not isinstance(settings.get("name"), str):
            raise InputError(f"{where}: procedures holds {entry!r}; write a name, or name: and settings")
        if ":" not in settings["name"]:
            check_names([settings["name"]], names(), f"{where}: procedures")
        found.append(settings)
    return tuple(found)


def build(entries: Iterable[Mapping[str, Any]]) -> tuple[Procedure, ...]:
    """New procedures from what `read` returned, outermost first.

    Raises:
        InputError: a class cannot be imported or is no procedure, or a setting does not fit it.
    """
    from suite.training.construct import construct

    return tuple(
        construct(
            _class_of(entry["name"]),
            {key: value for key, value in entry.items() if key != "name"},
            f"procedures: {entry['name']}",
            {},
        )
        for entry in entries
    )


def _class_of(name: str) -> type[Procedure]:
    from suite.training.procedure import Procedure

    if ":" not in name:
        module = import_module(f"{__name__}.{name}")
        [found] = [cls for cls in _classes(module) if issubclass(cls, Procedure)]
        return found
    place, _, attribute = name.partition(":")
    try:
        cls = getattr(import_module(place), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"procedures: {name} cannot be imported: {' '.join(str(error).split())}") from error
    if not (inspect.isclass(cls) and issubclass(cls, Procedure)):
        raise InputError(f"procedures: {name} is no suite.training.Procedure")
    return cls


def _classes(module: Any) -> list[type]:
    """The classes that a module defines itself."""
    return [item for item in vars(module).values() if inspect.isclass(item) and item.__module__ == module.__name__]
