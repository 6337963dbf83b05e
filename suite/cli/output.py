"""What a command answers: text for people, or with `--json` one JSON object and nothing else on standard output."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

_STDOUT, _STDERR = 1, 2


@dataclasses.dataclass(frozen=True)
class Answer:
    """The outcome of a command.

    Attributes:
        data: the JSON object.
        message: what a person reads; where empty, the data themselves are shown.
        code: the exit code: 0 done, 1 our fault, 2 the input is wrong, 130 interrupted.
        said: people have read it already, as it went; only `--json` prints it.
    """

    data: Mapping[str, Any]
    message: str = ""
    code: int = 0
    said: bool = False

    @classmethod
    def of(cls, value: Any) -> Answer:
        """Make an answer of what a verb function returned: nothing, an answer, a mapping, or any other value.

        Of a mapping, `message` is the text for people, `exit_code` the exit code, and `said` says that people have
        read all of it already.
        """
        if isinstance(value, Answer):
            return value
        if value is None:
            return cls({})
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if not isinstance(value, Mapping):
            return cls({"result": value})
        data = dict(value)
        code, said = int(data.pop("exit_code", 0)), bool(data.pop("said", False))
        return cls(data, str(data.get("message") or ""), code, said)

    def print(self, stream: TextIO, *, as_json: bool) -> None:
        """Write it to `stream`."""
        if as_json:
            print(to_json(self.data), file=stream)
        elif self.message:
            print(self.message.rstrip("\n"), file=stream)
        elif self.data and not self.said:
            print(to_json(self.data, indent=2), file=stream)
        stream.flush()


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Write `value` as strict JSON: paths as text, dataclasses as objects, numbers that are not finite as null."""
    return json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False, indent=indent)


def jsonable(value: Any) -> Any:
    """Return `value` made of dicts, lists, strings, finite numbers, booleans and None alone."""
    if value is None or isinstance(value, bool | int | str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Enum):
        return jsonable(value.value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    for convert in ("tolist", "item", "to_dict"):  # numpy and torch, then results
        if callable(getattr(value, convert, None)):
            return jsonable(getattr(value, convert)())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


@contextmanager
def answers(as_json: bool) -> Iterator[TextIO]:
    """Yield the stream that the answer goes to.

    With `as_json` everything else that is printed meanwhile, by libraries and child processes too, goes to standard
    error, so that standard output holds the one JSON object alone.
    """
    if not as_json:
        yield sys.stdout
        return
    real = sys.stdout
    real.flush()
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        with redirect_stdout(sys.stderr), open(kept, "w", encoding="utf-8", closefd=False) as own:
            # Where a test or a notebook has put another stream in its place, the answer belongs there.
            yield own if _descriptor(real) == _STDOUT else real
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, AttributeError, ValueError):
        return None


def note(*parts: str | Path) -> None:
    """Print a line for people that is not the answer: progress, warnings, one failed input of several."""
    print(*parts, file=sys.stderr, flush=True)


def table(usage: str, title: str, groups: dict[str, dict[str, str]]) -> str:
    """Lay out a help page: usage, one line, and named groups of names with their one-line explanation."""
    width = max((len(name) for group in groups.values() for name in group), default=0)
    lines = [f"usage: {usage}", "", title]
    for heading, group in groups.items():
        lines += ["", f"{heading}:", *(f"  {name:<{width}}  {text}" for name, text in group.items())]
    return "\n".join(lines)
