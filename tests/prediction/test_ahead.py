"""Reading ahead: order, a bound, errors where they belong, threads that end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from suite.errors import InputError
from suite.prediction.ahead import ahead, parts_ahead


def test_no_more_is_made_than_may_wait_and_the_thread_ends_with_its_reader() -> None:
    made: list[int] = []
    maker: list[threading.Thread] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        maker.append(threading.current_thread())
        for number in range(100):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    stream = ahead(items(), 2)
    assert next(stream) == 0
    assert third.wait(60)  # the one that was taken, two that wait, one in the hand
    stream.close()
    assert len(made) == 4
    assert len(maker) == 1 and not maker[0].is_alive()


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("our fault")

    stream = ahead(items(), 2)
    assert next(stream) == 1
    with pytest.raises(ZeroDivisionError, match="our fault"):
        next(stream)


def read(item: str) -> Iterator[str]:
    if item == "absent":
        raise InputError("absent: no such file")
    yield f"{item}0"
    if item == "torn":
        raise InputError("torn: ends here")
    yield f"{item}1"


def test_an_error_of_one_item_is_raised_among_its_parts_and_the_next_goes_on() -> None:
    found: dict[str, list[str]] = {}
    for item, parts in parts_ahead(["a", "absent", "torn", "b"], read, 3):
        found[item] = []
        try:
            found[item].extend(parts)
        except InputError as error:
            found[item].append(f"error: {error}")
    assert found == {
        "a": ["a0", "a1"],
        "absent": ["error: absent: no such file"],
        "torn": ["torn0", "error: torn: ends here"],
        "b": ["b0", "b1"],
    }


def test_parts_that_nobody_took_are_passed_by() -> None:
    taken = [(item, next(parts)) for item, parts in parts_ahead(["a", "torn", "b"], read, 2)]
    assert taken == [("a", "a0"), ("torn", "torn0"), ("b", "b0")]
    assert [item for item, _ in parts_ahead(["absent", "a"], read, 1)] == ["absent", "a"]


def test_a_fault_of_ours_is_no_items_error() -> None:
    def broken(item: str) -> Iterator[str]:
        yield item
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        for _, parts in parts_ahead(["a", "b"], broken, 2):
            list(parts)
