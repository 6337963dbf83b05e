"""Reading beside the model: what is asked for next is made in a thread of its own, a few items ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from typing import Any, TypeVar

from suite.errors import InputError

Item = TypeVar("Item")
Part = TypeVar("Part")


def ahead(items: Iterable[Item], most: int) -> Generator[Item, None, None]:
    """The items in their order, `most` of them made before they are asked for; an error comes where its item would."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(most)
    stopped = threading.Event()

    def put(kind: str, value: object) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((kind, value), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # raised again where the items are asked for
            put("error", error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        stopped.set()
        thread.join()


def parts_ahead(
    items: Iterable[Item], read: Callable[[Item], Iterable[Part]], most: int
) -> Generator[tuple[Item, Iterator[Part]], None, None]:
    """Every item with its parts, in order, `most` of them read before they are asked for, the next item's too.

    Parts of an item that are left over when the next one is asked for are passed by.

    Args:
        read: an item to its parts; its `InputError` is raised where that item's parts are asked for.
    """

    def made() -> Iterator[tuple[str, Any]]:
        for item in items:
            yield "item", item
            try:
                for part in read(item):
                    yield "part", part
            except InputError as error:
                yield "error", error
            else:
                yield "end", None

    with closing(ahead(made(), most)) as stream:
        for _, item in stream:
            parts = _parts(stream)
            yield item, parts
            with suppress(InputError):
                for _ in parts:
                    pass


def _parts(stream: Iterator[tuple[str, Any]]) -> Iterator[Any]:
    for kind, value in stream:
        if kind == "error":
            raise value
        if kind == "end":
            return
        yield value
