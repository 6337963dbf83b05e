"""What users hand to a predictor: paths, folders, text in quotes, standard input; how results are named after them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from suite.errors import InputError

STDIN = "-"

MOST_CHARACTERS = 60
"""Of a file name made of any text."""

RESULTS = ".suite-results"
"""File in a folder of results that lists what predictions wrote there, one path a line, relative to the folder."""


def several(inputs: Any, *single: type) -> Iterable[Any]:
    """One or several inputs as several: a path, a text or an instance of `single` is one."""
    return [inputs] if isinstance(inputs, (str, Path, *single)) else inputs


def is_text(word: Any) -> TypeGuard[str]:
    """Whether a string is text itself rather than a path: it has a blank in it, and no file is called so."""
    return isinstance(word, str) and bool(word.strip()) and any(map(str.isspace, word)) and not exists(word)


def is_word(word: Any) -> TypeGuard[str]:
    """Whether a string is one word of text: no file is called so, and it does not look as if one were."""
    return isinstance(word, str) and re.fullmatch(r"[^\W_][\w'-]*", word) is not None and not exists(word)


_LIVE = re.compile(r"webcam(:\d+)?|(rtsps?|rtmps?|https?|udp|tcp|srt)://.+", re.IGNORECASE)


def is_live(word: Any) -> bool:
    """Whether it names a camera of this machine, or the address of a stream: what has no known end."""
    return isinstance(word, str) and _LIVE.fullmatch(word) is not None


def exists(path: str | Path) -> bool:
    """Whether there is such a file or folder; a text too long for a name is none, and no name is not this folder."""
    try:
        return path != "" and Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, ~nobody, a NUL
        return False


def source_name(one: Any) -> str:
    """How an input is called in results and errors: `stdin`, `text`, or its path."""
    if isinstance(one, str) and one == STDIN:
        return "stdin"
    return "text" if is_text(one) else str(one)


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files below a folder that end in one of `suffixes`, sorted; hidden ones are left out.

    So is what earlier predictions wrote there, unless there is nothing else: then it is what the user means.

    Raises:
        InputError: there is none.
    """
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.lower().endswith(tuple(suffixes))
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise InputError(f"{folder}: the folder holds no file that ends in {', '.join(suffixes)}")
    results = _results_below(folder) | _results_above(folder)
    return [path for path in found if path.resolve() not in results] or found


def _results_below(folder: Path) -> set[Path]:
    return {file for listing in folder.rglob(RESULTS) for file in _listed(listing)}


def _results_above(folder: Path) -> set[Path]:
    return {file for parent in folder.resolve().parents for file in _listed(parent / RESULTS)}


def _listed(listing: Path) -> Iterator[Path]:
    """The files that a folder of results lists; a list that cannot be read hides nothing."""
    try:
        names = listing.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    yield from ((listing.parent / name).resolve() for name in names if name)


def expanded(inputs: Iterable[Any], suffixes: Sequence[str]) -> Iterator[Any]:
    """Every input in order, a folder being its files; one without any stays, so that reading it gives its error."""
    for one in inputs:
        path = Path(one).expanduser() if isinstance(one, str | Path) and one != STDIN and not is_text(one) else None
        if path is None or not path.is_dir():
            yield one if path is None else path
            continue
        try:
            yield from files_in(path, suffixes)
        except InputError:
            yield path


def read_stdin() -> bytes:
    """Everything on standard input.

    Raises:
        InputError: there is nothing.
    """
    content = sys.stdin.buffer.read()
    if not content.strip():
        raise InputError("nothing came on standard input; pipe a file into the command, or name one")
    return content


def slug(text: str, longest: int = MOST_CHARACTERS, otherwise: str = "unnamed") -> str:
    """A file name made of any text: letters, digits, `.`, `_` and `-`, and never a path of its own."""
    words = re.sub(r"[^\w.-]+", "_", text.strip(), flags=re.UNICODE).strip("._-")
    return words[:longest].rstrip("._-") or otherwise


class Names:
    """File names of results, unique within one prediction on every file system."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, wanted: str) -> str:
        """`wanted`, numbered from 2 where an earlier result has it, in whatever case."""
        name, number = wanted, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{wanted}-{number}"
        self._taken.add(name.lower())
        return name
