"""Tables as text: CSV for programs and spreadsheets, aligned columns for terminals."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a text that spreadsheets run as a formula; a tab or a carriage return may hide one."""


def counted(number: int, what: str) -> str:
    """A number with its word: `1 hunk`, `2 hunks`."""
    return f"{number} {what}{'s' * (number != 1)}"


def csv_text(rows: Iterable[Sequence[Any]], *, guard: bool = False, delimiter: str = ",", line_end: str = "\n") -> str:
    """Rows as CSV, the header being the first of them.

    Args:
        rows: cells; lists and mappings are written as JSON, None as nothing.
        guard: put an apostrophe before text that a spreadsheet would run as a formula; numbers stay numbers.
        line_end: RFC 4180 asks for CRLF.
    """
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=line_end)
    writer.writerows([[_cell(value, guard) for value in row] for row in rows])
    return file.getvalue()


def records_csv(records: Iterable[Mapping[str, Any]], *, guard: bool = False, columns: Sequence[str] = ()) -> str:
    """Records as CSV: a column for every key of any of them, in order of appearance, or only `columns`."""
    records = list(records)
    names = list(columns) or list(dict.fromkeys(name for record in records for name in record))
    return csv_text([names, *([record.get(name) for name in names] for record in records)], guard=guard)


def records_jsonl(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as JSON lines."""
    return "".join(json.dumps(record) + "\n" for record in records)


def aligned(rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Rows, the header being the first of them, as columns of equal width: the first `left` to the left, as text is
    read, the others to the right, as numbers are."""
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _cell(value: Any, guard: bool) -> Any:
    if guard and isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return json.dumps(value) if isinstance(value, dict | list) else value
