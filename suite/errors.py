"""The one error that means "the input is wrong": a clear line in the API, exit code 2 at the command line."""

from __future__ import annotations


class InputError(ValueError):
    """What the caller gave is wrong. The message is one line: what is wrong, where, and what to do.

    Everything else that escapes the suite is a bug of ours and keeps its traceback (exit code 1).
    """


def one_line(error: BaseException) -> str:
    """An exception's message on one line."""
    return " ".join(str(error).split())


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
