"""Tables of a whole prediction: one row an input, as CSV and as JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite.files import write_text


def write(records: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Write `predictions.csv` and `predictions.jsonl`; nested values are JSON within the CSV."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    columns = list(dict.fromkeys(name for record in records for name in record))
    stream = io.StringIO()
    table = csv.DictWriter(stream, columns, lineterminator="\n")
    table.writeheader()
    for record in records:
        table.writerow({name: _cell(value) for name, value in record.items()})
    return [
        write_text(folder / "predictions.csv", stream.getvalue()),
        write_text(folder / "predictions.jsonl", lines),
    ]


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return f"'{value}"  # a spreadsheet would run it
    return json.dumps(value) if isinstance(value, dict | list) else value
