"""One bad input is one result with its error, and the next one goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from suite.domain import Result
from suite.errors import InputError

Item = TypeVar("Item")
Made = TypeVar("Made")
R = TypeVar("R", bound=Result)


def each(items: Iterable[Item], make: Callable[[Item], Made], failed: Callable[[Item, str], Made]) -> Iterator[Made]:
    """Yield what `make` gives for every item, in order, and `failed(item, why)` for those that are wrong.

    Only `InputError` is the item's fault; everything else is ours and stops the loop.
    """
    for item in items:
        try:
            made = make(item)
        except InputError as error:
            made = failed(item, str(error))
        yield made


def reason(error: str | InputError, source: str) -> str:
    """The error without the name of its input, which stands beside it."""
    return str(error).removeprefix(source).lstrip(":, ")


def placed(error: str | InputError, source: str) -> str:
    """The same, where a place in the input keeps its colon: `:12: ...`, to stand right behind the source's name."""
    rest = str(error).removeprefix(source)
    return rest if re.match(r":\d", rest) else reason(error, source)


def only(results: Iterable[R]) -> R:
    """The result of one input.

    Raises:
        InputError: the input was wrong.
    """
    [result] = results
    if result.error is not None:
        raise InputError(f"{result.source}: {result.error}")
    return result


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items, the last one shorter; no more items are taken than are needed."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch
