"""Files of many cases, read line by line: a broken line is named by file and number, and may be passed over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from domains.code_review.data.examples import Example
from suite.errors import InputError


class Skipping:
    """Bad lines that are passed over, up to a bound.

    Args:
        most: how many; the next one is an error.
    """

    def __init__(self, most: int = 0) -> None:
        self.most, self.skipped = most, 0

    def or_raise(self, error: InputError) -> None:
        """Count a bad line, or raise its error where there were too many."""
        if self.skipped >= self.most:
            more = f" ({self.skipped} lines were passed over before it)" if self.skipped else ""
            raise InputError(f"{error}{more}") from error
        self.skipped += 1


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text file that are not blank, each with its place, `file:line`.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="strict", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path}:{number}", line.rstrip("\r\n")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); convert the file") from error


def each_line(path: Path, make: Callable[[str, str], Example | None], skipping: Skipping) -> Iterator[Example]:
    """What `make(line, where)` gives for every line; None is passed over, its errors as far as `skipping` allows."""
    for where, line in read_lines(path):
        try:
            made = make(line, where)
        except InputError as error:
            skipping.or_raise(error)
            continue
        if made is not None:
            yield made


def json_object(line: str, where: str) -> dict[str, Any]:
    """A line's JSON object.

    Raises:
        InputError: it is none.
    """
    try:
        found = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: expected one JSON object a line, found {type(found).__name__}")
    return found


def text_field(record: dict[str, Any], key: str, where: str) -> str:
    """A record's string.

    Raises:
        InputError: it is missing, or none.
    """
    if key not in record:
        raise InputError(f"{where}: the key {key!r} is missing; there are {', '.join(map(str, record)) or 'none'}")
    if not isinstance(record[key], str):
        raise InputError(f"{where}: {key!r} is {type(record[key]).__name__}, not a string")
    return str(record[key])
