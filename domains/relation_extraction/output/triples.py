"""The files that `predict` writes and reads again: triples, documents, the alias table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from domains.relation_extraction.types import Triple
from suite.errors import InputError
from suite.files import decoded, read_json

# JSON may hold them as they are, but many readers (str.splitlines, for one) would break the line there.
_LINE_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def read_triples(path: str | Path) -> list[Triple]:
    """Read a triples file (JSON lines, one triple or one document with `triples` a line).

    Raises:
        InputError: the file is missing, or a line is not a triple; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such triples file; write one with `suite relation_extraction predict`")
    triples = []
    for number, line in _numbered_lines(path):
        try:
            record = json.loads(line)
            triples += [Triple.from_dict(item) for item in record.get("triples", [record])]
        except (RecursionError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number}: not a triple ({type(error).__name__}: {error}); "
                "each line must be an object as `suite relation_extraction predict` writes it"
            ) from None
    return triples


def read_texts(path: str | Path) -> dict[str, str]:
    """Read a documents file, JSON lines of `{"id": ..., "text": ...}`, as `predict` writes it beside the triples.

    Raises:
        InputError: the file is missing or a line has no `id` or `text`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such documents file; `predict` writes it beside the triples")
    texts = {}
    for number, line in _numbered_lines(path):
        try:
            record = json.loads(line)
            texts[record["id"]] = record["text"]
        except (RecursionError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f'{path}, line {number}: expected {{"id": ..., "text": ...}}') from None
    return texts


def read_aliases(path: str | Path | None) -> dict[str, str]:
    """The alias table of a file, `{spelling: canonical spelling}`; empty without one.

    Raises:
        InputError: it is no JSON object of strings.
    """
    if path is None:
        return {}
    table = read_json(path, "the alias table must be {spelling: canonical spelling}")
    if not all(isinstance(name, str) for name in table.values()):
        raise InputError(f"{path}: the alias table must be a JSON object from spelling to canonical spelling")
    return table


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    # Not splitlines: a JSON string may hold U+2028 and its like as they are.
    lines = decoded(path.read_bytes()).split("\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def json_lines(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as JSON lines that every reader splits alike."""
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return text.translate(_LINE_BREAKS)


def file_name(text: str, otherwise: str = "document") -> str:
    """A file name made of any text, never a path of its own."""
    cleaned = "".join(c if c.isalnum() or c in "-_." else "_" for c in text).strip(".")
    return cleaned[:80] or otherwise
