"""Columns of numbers as text: xyz, txt, csv, pts."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.types import Cloud
from suite.errors import InputError

COMMENTS = ("#", "//")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


def read_text(path: Path, samples: int, seed: int) -> Cloud:
    """Columns of numbers, x y z first; one line of names, plain or as a comment, may say which column is what.

    A column after the coordinates may hold names (of classes): it becomes their numbers, in alphabetical order.
    """
    lines, comments = _lines(path)
    separator = _separator(lines, path)
    names = _names_of(lines, comments, separator)
    if names is not None and names[0]:
        lines = lines[1:] if names[1] else lines
    # An xyz file of chemistry and some scanners starts with the number of points alone.
    if lines and names is None and re.fullmatch(r"\d+(\.0*)?", lines[0][1]):
        lines = lines[1:]
    rows = _rows(path, lines, separator)
    if not rows:
        raise InputError(f"{path}: no line of numbers")
    return from_columns(path, _columns(path, rows, lines), None if names is None else names[0])


def _lines(path: Path) -> tuple[list[tuple[int, str]], list[str]]:
    """The lines with something in them by their number, and the comments before the first of them."""
    try:
        text = path.read_text(encoding=_encoding(path))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text (byte {error.start} is not UTF-8)") from None
    lines: list[tuple[int, str]] = []
    comments: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith(COMMENTS):
            if not lines:
                comments.append(stripped.lstrip("#/").strip())
            continue
        stripped = stripped.split("#", 1)[0].strip()
        if stripped:
            lines.append((number, stripped))
    return lines, comments


def _encoding(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(2)
    return "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _separator(lines: Sequence[tuple[int, str]], path: Path) -> str | None:
    """What stands between columns; None for blanks. A comma within numbers that blanks or `;` part is a decimal one."""
    if not lines:
        return None
    text = lines[0][1]
    if ";" in text:
        return ";"
    if "\t" in text and not _is_list(text.split("\t")):
        return "\t"
    if "," not in text:
        return None
    last = lines[-1][1].split()
    if len(last) >= 3 and all(_DECIMAL_COMMA.fullmatch(word) or _number(word) is not None for word in last):
        return None
    return ","


def _is_list(words: Sequence[str]) -> bool:
    return any("," in word and _number(word) is None for word in words)


def _split(text: str, separator: str | None) -> list[str]:
    if separator is None:
        return [word.strip("\"'") for word in text.split()]
    words = [word.strip() for word in next(csv.reader([text], delimiter=separator, skipinitialspace=True))]
    while len(words) > 1 and not words[-1]:  # a comma at the end of a line is no column
        words.pop()
    return words


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        pass
    try:
        return float(word.replace(",", ".")) if _DECIMAL_COMMA.fullmatch(word) else None
    except ValueError:
        return None


def _names_of(
    lines: Sequence[tuple[int, str]], comments: Sequence[str], separator: str | None
) -> tuple[list[str], bool] | None:
    """The columns' names and whether they are the first line itself; None where nothing names them."""
    if not lines:
        return None
    first = _split(lines[0][1], separator)
    if sum(_number(word) is None for word in first[:3]) == min(3, len(first)):
        return first, True
    for comment in reversed(comments):
        parted = "," if "," in comment else ";" if ";" in comment else None
        words = _split(comment, parted)
        if len(words) == len(first) and {"x", "y", "z"} <= {word.lower() for word in words}:
            return words, False
    return None


def _rows(path: Path, lines: Sequence[tuple[int, str]], separator: str | None) -> list[list[str]]:
    rows: list[list[str]] = []
    for number, text in lines:
        words = _split(text, separator)
        if rows and len(words) != len(rows[0]):
            # A line that is parted otherwise is no line of fewer columns.
            if len(words) == 1:
                raise _unlike(path, number, text)
            raise InputError(f"{path}, line {number}: {len(words)} columns where the first line has {len(rows[0])}")
        rows.append(words)
    return rows


def _columns(path: Path, rows: list[list[str]], lines: Sequence[tuple[int, str]]) -> list[NDArray[np.generic]]:
    """The columns as numbers; one that holds words throughout, as the numbers of these words."""
    columns: list[NDArray[np.generic]] = []
    for index, words in enumerate(zip(*rows, strict=True)):
        try:
            columns.append(np.array(words, dtype=np.float64))
            continue
        except ValueError:
            values = [_number(word) for word in words]
        wrong = [number for number, value in enumerate(values) if value is None]
        if not wrong:
            columns.append(np.array(values, dtype=np.float64))
        elif index >= 3 and len(wrong) == len(words):
            columns.append(np.unique(words, return_inverse=True)[1].astype(np.int64))
        else:
            raise _unlike(path, *lines[wrong[0]])
    return columns


def _unlike(path: Path, number: int, text: str) -> InputError:
    return InputError(f"{path}, line {number}: not numbers separated like the first line ({text[:40]!r})")


def from_columns(path: Path, columns: Sequence[NDArray[np.generic]], names: Sequence[str] | None) -> Cloud:
    """A cloud from columns (N,) each; x y z where they are named, the first three otherwise."""
    if len(columns) < 3:
        raise InputError(f"{path}: {len(columns)} columns, at least x y z are needed")
    names = [name.strip().strip("\"'") for name in names] if names else []
    if names and len(names) != len(columns):
        raise InputError(f"{path}: {len(names)} column names for {len(columns)} columns")
    low = [name.lower() for name in names]
    order = [0, 1, 2]
    if {"x", "y", "z"} <= set(low):
        order = [low.index(axis) for axis in "xyz"]
    elif not names:
        names = [*"xyz", *(f"column{index}" for index in range(3, len(columns)))]
    rest = {names[i]: np.asarray(columns[i]) for i in range(len(columns)) if i not in order}
    return Cloud(str(path), np.stack([np.asarray(columns[i], dtype=np.float64) for i in order], 1), rest)


def with_column(path: Path, name: str, values: Sequence[str], original: str) -> str | None:
    """The text of a file with one more column; everything else, comments among it, stays as it is written.

    Args:
        name: of the column. values: one a point, in the file's order.
        original: what an earlier column of that name is called from now on.

    Returns:
        None where the file has another number of points than there are values.
    """
    lines, comments = _lines(path)
    separator = _separator(lines, path)
    names = _names_of(lines, comments, separator)
    mark = " " if separator is None else separator
    header = lines[0][0] if names is not None and names[1] else None
    data = [number for number, text in lines if number != header]
    if names is None and lines and re.fullmatch(r"\d+(\.0*)?", lines[0][1]):
        data = data[1:]
    if len(data) != len(values):
        return None
    column = dict(zip(data, values, strict=True))
    written = path.read_text(encoding=_encoding(path)).splitlines()
    for number, line in enumerate(written, start=1):
        if number == header:
            words = [original if word.lower() == name else word for word in _split(line.strip(), separator)]
            written[number - 1] = mark.join([*(f'"{w}"' if mark in w else w for w in words), name])
        elif number in column:
            content, sign, note = line.partition("#")
            kept = content.rstrip().rstrip(mark)
            written[number - 1] = f"{kept}{mark}{column[number]}" + (f" {sign}{note}" if sign else "")
        elif (
            names is not None
            and not names[1]
            and line.lstrip().startswith(COMMENTS)
            and line.rstrip().endswith(names[0][-1])
        ):
            parted = "," if "," in line else ";" if ";" in line else " "
            written[number - 1] = f"{line.rstrip()}{parted}{name}"
    return "\n".join(written) + "\n"
