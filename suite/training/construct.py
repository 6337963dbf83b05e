"""Objects from the sections of a configuration."""

from __future__ import annotations

import inspect
import re
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
        raise InputError(_plain(" ".join(str(error).split()), where)) from error
    return cls(**given, **{name: values["section"][name] for name in section})


_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "list": "a list",
    "dict": "a mapping",
    "NoneType": "null",
}
"""Types in the words of those who write YAML."""


def _plain(message: str, where: str) -> str:
    """What jsonargparse says of a value, in a line for people; as it stands where it is of another form."""
    found = re.fullmatch(r'Parser key "section\.([^"]+)": (.*)', message)
    if found is None:
        return f"{where}: {message}"
    name, told = found.groups()
    value = re.search(r"(?:Got|Given) value: (.*)$", told)
    kinds = re.findall(r"Expected a (?:<class '(\w+)'>|typing\.Literal\[([^\]]*)\])", told)
    if value is None or told.count("Expected a") != len(kinds) or told.count(" value: ") > 1:
        return f"{where}.{name}: {told}"
    wanted = " or ".join(_KINDS.get(kind, kind) if kind else f"one of {choices}" for kind, choices in kinds)
    return f"{where}.{name} is {value[1]}; give {wanted}"
