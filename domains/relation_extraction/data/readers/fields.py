"""Taking values out of records that others wrote, each failure as one line that says where and what to do."""

from __future__ import annotations

from typing import Any, TypeVar

from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

T = TypeVar("T")
_NAMES = {str: "a string", int: "a whole number", list: "a list", dict: "an object"}


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return `value` if it is a JSON object.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, not {type(value).__name__}; see the format in the docs")
    return value


def field(record: dict[str, Any], key: str, kind: type[T], where: str) -> T:
    """Return `record[key]` if it is of type `kind`.

    Raises:
        InputError: it is missing or of another type.
    """
    if key not in record:
        raise InputError(f"{where}: no `{key}`; add it, or name the file's format with --format")
    value = record[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{where}: `{key}` must be {_NAMES.get(kind, kind.__name__)}, not {_short(value)}")
    return value


def strings(value: Any, where: str) -> list[str]:
    """Return `value` if it is a list of strings.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list of strings, not {_short(value)}")
    for place, item in enumerate(value):
        if not isinstance(item, str):
            raise InputError(f"{where}: item {place} must be a string, not {_short(item)}")
    return value


def index(record: dict[str, Any], key: str, count: int, where: str, what: str) -> int:
    """Return `record[key]` if it is an index into `count` entities.

    Raises:
        InputError: it is not.
    """
    value = field(record, key, int, where)
    if not 0 <= value < count:
        raise InputError(f"{where}: `{key}` {value} is outside `{what}`, which has {count} entities; correct it")
    return value


def relation_of(text: str, schema: Schema | None, where: str) -> tuple[str, str | None]:
    """Return the name and the property id of the relation that `text` (name, alias or property id) stands for.

    Args:
        schema: None: whatever the built-in DocRED schema does not know stays as it is.

    Raises:
        InputError: the schema does not know it.
    """
    if schema is None:
        known = Schema.load("redocred").find(text)
        return (known.name, known.pid) if known else (text, None)
    try:
        relation = schema.require(text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return relation.name, relation.pid


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
