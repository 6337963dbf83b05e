"""What users hand to the detector: files, folders, patterns, lists of paths, cameras and streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from suite.errors import InputError, first_line
from suite.files import read_text
from suite.prediction.inputs import exists, expanded, is_live

_SHOWN = 3


def sources(inputs: Iterable[Any], suffixes: Sequence[str]) -> Iterator[Any]:
    """Every input in order: a folder is its files, a pattern what it matches, a .txt the paths in it.

    A list with a fault stays, as a folder without any file does, so that reading it gives its error.
    """
    for one in inputs:
        text = str(one)
        if is_live(text):
            yield text  # as a path, an address would lose one of its slashes
        elif has_magic(text) and not exists(text):
            # A pattern without a match stays, so that reading it gives its error.
            yield from sorted(glob(str(Path(text).expanduser()), recursive=True)) or [one]
        elif text.lower().endswith(".txt") and Path(text).expanduser().is_file():
            try:
                listed: list[Any] = list(paths_in(Path(text).expanduser()))
            except InputError:
                listed = [Path(text).expanduser()]
            yield from expanded(listed, suffixes)
        else:
            yield from expanded([one], suffixes)


def paths_in(file: Path) -> list[Path]:
    """The paths in a list, a line each; relative ones lie beside it.

    Raises:
        InputError: it cannot be read, is empty, or paths are missing; names the first ones.
    """
    try:
        lines = [line.strip() for line in read_text(file, encoding=None).splitlines()]
    except OSError as error:
        raise InputError(f"{file}: {first_line(error)}; give a text file with one path a line") from error
    paths = [file.parent / Path(line).expanduser() for line in lines if line and not line.startswith("#")]
    if not paths:
        raise InputError(f"{file}: no path in it; give a text file with one path a line")
    if missing := [path for path in paths if not exists(path)]:
        shown = ", ".join(map(str, missing[:_SHOWN])) + (" ..." if len(missing) > _SHOWN else "")
        raise InputError(f"{file}: {len(missing)} of {len(paths)} paths are not there: {shown}")
    return paths
