"""Columns of numbers as text: xyz, txt, csv, pts."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domains.point_cloud.types import Cloud
from suite.errors import InputError

COMMENTS = ("#", "//")
HEAD, PIECE, CHUNK = 1000, 50_000, 2**20
"""Lines that tell how a file is parted, lines that are held as text at once, and bytes."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


def read_text(path: Path, samples: int, seed: int) -> Cloud:
    """Columns of numbers, x y z first; one line of names, plain or as a comment, may say which column is what.

    A column after the coordinates may hold names (of classes): it becomes their numbers, in alphabetical order.
    """
    layout = _layout(path)
    pieces: list[list[Column]] = []
    width = 0
    # Text is many times as large in Python's objects as in arrays: only a piece of it is held at once.
    while lines := list(islice(layout.lines, PIECE)):
        rows = _rows(path, lines, layout.separator, width)
        width = len(rows[0])
        pieces.append(_columns(path, rows, lines))
    if not pieces:
        raise InputError(f"{path}: no line of numbers")
    columns = [_joined(path, own) for own in zip(*pieces, strict=True)]
    return from_columns(path, columns, layout.names)


@dataclass(frozen=True)
class Layout:
    """How the text of a file is to be read.

    Attributes:
        separator: between columns; None for blanks. names: of the columns, where any line tells them.
        header: number of the line that is these names, or the number of points alone; 0 where there is none.
        lines: those with values by their number, read as they are asked for.
    """

    separator: str | None
    names: list[str] | None
    header: int
    lines: Iterator[tuple[int, str]]


def _layout(path: Path) -> Layout:
    comments: list[str] = []
    lines = _lines(path, comments)
    head = list(islice(lines, HEAD))
    separator = _separator(head)
    named = _names_of(head, comments, separator)
    header = 0
    if named is not None and named[0]:
        header = head[0][0] if named[1] else 0
    # An xyz file of chemistry and some scanners starts with the number of points alone.
    elif head and named is None and re.fullmatch(r"\d+(\.0*)?", head[0][1]):
        header = head[0][0]
    values = (line for line in chain(head, lines) if line[0] != header)
    return Layout(separator, None if named is None else named[0], header, values)


def _lines(path: Path, comments: list[str]) -> Iterator[tuple[int, str]]:
    """The lines with something in them by their number; `comments` gathers those before the first of them."""
    try:
        found = False
        with path.open(encoding=_encoding(path)) as stream:
            for number, line in enumerate(stream, start=1):
                stripped = line.strip()
                if stripped.startswith(COMMENTS):
                    if not found:
                        comments.append(stripped.lstrip("#/").strip())
                    continue
                stripped = stripped.split("#", 1)[0].strip()
                if stripped:
                    found = True
                    yield number, stripped
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text (byte {error.start} is not UTF-8)") from None


def _encoding(path: Path) -> str:
    """UTF-8 or UTF-16, or Windows-1252 where a file without zeros is neither: names of columns and classes in it."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with path.open("rb") as stream:
        if (piece := stream.read(CHUNK)).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        try:
            while piece:
                decoder.decode(piece)
                piece = stream.read(CHUNK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            stream.seek(0)
            # Clouds in binary, under a name of text, have zeros and characters that no text has.
            return "utf-8-sig" if _is_binary(stream.read(CHUNK)) else "cp1252"
    return "utf-8-sig"


def _is_binary(start: bytes) -> bool:
    return any(byte < 32 and byte not in b"\t\n\f\r" for byte in start)


def _separator(lines: Sequence[tuple[int, str]]) -> str | None:
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


def _rows(path: Path, lines: Sequence[tuple[int, str]], separator: str | None, width: int) -> list[list[str]]:
    """The words of every line; `width` is how many the first line of the file has, 0 where it is among these."""
    rows: list[list[str]] = []
    for number, text in lines:
        words = _split(text, separator)
        width = width or len(words)
        if len(words) != width:
            # A line that is parted otherwise is no line of fewer columns.
            if len(words) == 1:
                raise _unlike(path, number, text)
            raise InputError(f"{path}, line {number}: {len(words)} columns where the first line has {width}")
        rows.append(words)
    return rows


Column = NDArray[np.generic] | tuple[str, ...]
"""Numbers, or words throughout."""


def _columns(path: Path, rows: list[list[str]], lines: Sequence[tuple[int, str]]) -> list[Column]:
    """The columns of some lines."""
    columns: list[Column] = []
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
            columns.append(words)
        else:
            raise _unlike(path, *lines[wrong[0]])
    return columns


def _joined(path: Path, pieces: Sequence[Column]) -> NDArray[np.generic]:
    """A column of the whole file; one that holds words throughout, as the numbers of these words."""
    words = [piece for piece in pieces if isinstance(piece, tuple)]
    if not words:
        return np.concatenate([np.asarray(piece) for piece in pieces])
    if len(words) < len(pieces):
        raise InputError(f"{path}: a column has numbers in some lines and words in others, e.g. {words[0][0]!r}")
    return np.unique([word for piece in words for word in piece], return_inverse=True)[1].astype(np.int64)


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
    layout = _layout(path)
    separator, names, header = layout.separator, layout.names, layout.header
    mark = " " if separator is None else separator
    data = np.fromiter((number for number, _ in layout.lines), dtype=np.int64)
    if len(data) != len(values):
        return None
    label = dict(zip(data.tolist(), values, strict=True))
    written: list[str] = []
    with path.open(encoding=_encoding(path)) as stream:
        for number, line in enumerate(stream, start=1):
            line = line.removesuffix("\n")
            if number in label:
                content, sign, note = line.partition("#")
                kept = content.rstrip().rstrip(mark)
                line = f"{kept}{mark}{label[number]}" + (f" {sign}{note}" if sign else "")
            elif number == header and names is not None:
                words = [original if word.lower() == name else word for word in _split(line.strip(), separator)]
                line = mark.join([*(f'"{w}"' if mark in w else w for w in words), name])
            elif (
                names is not None
                and not header
                and line.lstrip().startswith(COMMENTS)
                and line.rstrip().endswith(names[-1])
            ):
                parted = "," if "," in line else ";" if ";" in line else " "
                line = f"{line.rstrip()}{parted}{name}"
            written.append(line)
    return "\n".join(written) + "\n"
