"""What Python callers write where a Query wants a path, several names, or one of a few words. Imports no torch."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from suite.errors import InputError

_NUMBERS = {int: "a whole number", float: "a number"}


def normalise(query: Any, least: Mapping[str, float] | None = None) -> None:
    """Bring the fields of a Query to what their annotations say, and refuse what none of them can mean.

    The command line does this for what is typed there; called from a Query's `__post_init__` it does the same for
    Python. A string where a path is wanted is that path; one where several strings are wanted is one of them, not
    its letters; a list is as good as a tuple.

    Args:
        least: the smallest value of numbers, by field.

    Raises:
        InputError: a value is of the wrong kind, or not among those there are.
    """
    for name, kinds in _kinds(cast(Hashable, type(query))).items():
        value = getattr(query, name)
        if value is None and type(None) in kinds:
            continue
        kept = _as_one_of(name, value, [kind for kind in kinds if kind is not type(None)])
        if least and name in least and not kept >= least[name]:  # what is no number (nan) is not less, either
            raise InputError(f"{name} is {value!r}; give {least[name]} or more")
        if kept is not value:
            object.__setattr__(query, name, kept)  # the Query is frozen


@cache
def _kinds(query: Any) -> dict[str, tuple[Any, ...]]:
    """The annotated kinds of each field, the members of a union apart."""
    hints = get_type_hints(query)
    return {
        field.name: get_args(hints[field.name])
        if get_origin(hints[field.name]) in (Union, types.UnionType)
        else (hints[field.name],)
        for field in dataclasses.fields(query)
        if field.init
    }


def _as_one_of(name: str, value: Any, kinds: list[Any]) -> Any:
    if len(kinds) > 1:  # several ways to say it: the Query's own code tells them apart
        return value
    (kind,) = kinds
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise InputError(f"{name} is {value!r}; choose {' or '.join(map(str, get_args(kind)))}")
    elif kind is Path:
        return _path(name, value)
    elif kind in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            raise InputError(f"{name} must be {_NUMBERS[kind]}, not {value!r}")
    elif get_origin(kind) is tuple and get_args(kind)[-1] is ...:
        return _several(name, value, get_args(kind)[0])
    return value


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise InputError(f"{name} must be a path, not {value!r}")
    return Path(value).expanduser()


def _several(name: str, value: Any, item: Any) -> tuple[Any, ...]:
    one = isinstance(value, str | Path) or not hasattr(value, "__iter__")
    values = (value,) if one else tuple(value)
    if item is str and not all(isinstance(each, str) for each in values):
        raise InputError(f"{name} must be strings, not {value!r}")
    return tuple(_path(name, each) for each in values) if item is Path else values
