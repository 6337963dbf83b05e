"""Tables with a header, as spreadsheets save them: a text a row, and where labelled one triple a row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from domains.relation_extraction.data.readers.opened import Item, Opened
from suite.errors import InputError

_TRIPLE = ("head", "relation", "tail")


def table_records(file: Opened, delimiter: str = ",") -> Iterator[Item | InputError]:
    """Yield the rows as own annotations: `text`, perhaps `id`, and perhaps `head`, `relation` and `tail`.

    Rows of one id and text are one document with several triples; a row with an empty head states none.

    Raises:
        InputError: there is no column `text`.
    """
    rows = csv.DictReader((f"{line}\n" for _, line in file.lines()), delimiter=delimiter)
    columns = [name.strip().lower() for name in rows.fieldnames or ()]
    if "text" not in columns:
        raise InputError(
            f"{file.name}: no column `text` in the first line ({', '.join(columns)[:60]}); name the columns id, text, "
            "head, relation and tail"
        )
    labelled = set(_TRIPLE) <= set(columns)
    documents: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for cells in rows:
        where = f"{file.name} line {rows.line_num}"
        row = {str(name).strip().lower(): cell or "" for name, cell in cells.items() if isinstance(cell, str | None)}
        id, text = row.get("id", ""), row["text"]
        record: dict[str, Any] = {"text": text}
        record |= ({"id": id} if id else {}) | ({"triples": []} if labelled else {})
        _, record = documents.setdefault((id, text), (where, record))
        if labelled and row["head"]:
            record["triples"].append({name: row[name] for name in _TRIPLE})
    yield from documents.values()
