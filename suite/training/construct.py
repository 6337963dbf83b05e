"""Objects from the sections of a configuration."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser

from suite.errors import InputError
from suite.training.names import check_names

Made = TypeVar("Made")


def construct(cls: type[Made], section: Mapping[str, Any], where: str, given: Mapping[str, Any]) -> Made:
    """An object of the class from a section of the configuration, each value checked against the class's types.

    Args:
        cls: the class.
        section: arguments of its constructor, as YAML holds them.
        where: what messages call the section.
        given: arguments that the section may not name.

    Raises:
        InputError: the class has no such argument (the nearest is named), or a value has the wrong type.
    """
    for name, instead in getattr(cls, "renamed", {}).items():
        if name in section:
            raise InputError(f"{where}.{name} has gone; write {where}.{instead(section[name])}")
    known = [name for name in inspect.signature(cls).parameters if name not in given]
    check_names(section, known, where)
    parser = ArgumentParser(exit_on_error=False)
    # jsonargparse keeps what belongs together under one dotted name.
    parser.add_class_arguments(cls, "section", skip=set(given), instantiate=False)
    try:
        values = parser.parse_object({"section": dict(section)})
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"{where}: {' '.join(str(error).split())}") from error
    return cls(**given, **{name: values["section"][name] for name in section})
