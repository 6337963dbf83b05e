"""Text and tables as users save them, in whatever encoding; what cannot be read is one line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from suite.errors import InputError, one_line
from suite.files import read_text

MOST_BYTES = 256 * 2**20
"""Of a manifest: some hundred thousand recordings."""


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it is not there, no text, or too large.
    """
    try:
        text = read_text(path, encoding=None, most=MOST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or one_line(error)})") from None
    if "\0" in text:
        raise InputError(f"{path}: is no text; give a table or a list")
    return text


def rows_of(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The columns of a CSV or TSV, in small letters, and its rows, each with its line.

    Where the first line has none of the commas of a CSV it is read as spreadsheets of many countries save it, with
    semicolons, or with tabs.

    Raises:
        InputError: it cannot be read, or a row has fewer columns than the first; while iterating.
    """
    text = text_of(path)
    first = text.partition("\n")[0]
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    delimiter = next((mark for mark in (usual, ";", "\t") if mark in first), usual)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    try:
        columns = [name.strip().lower() for name in reader.fieldnames or () if name]
    except csv.Error as error:
        raise InputError(f"{path}: line 1 is no table ({error})") from None
    return columns, _rows(path, reader)


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        for row in reader:
            if any(value is None for name, value in row.items() if name):
                raise InputError(f"{path}: line {reader.line_num} has fewer columns than the first")
            yield reader.line_num, {name.strip().lower(): row[name].strip() for name in row if name}
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num} is no row of a table ({error})") from None
