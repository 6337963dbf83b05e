"""What other systems write: their triples by document, read from the files that they leave.

- `docred`: a DocRED submission, `[{title, h_idx, t_idx, r}]`;
- `rebel`: linearised text, `<triplet> head <subj> tail <obj> relation`, one line a document or JSON lines;
- `glirel`: relations with `head_text`, `label`, `tail_text`, by document;
- `langextract`: JSON lines with `extractions` and their `attributes`;
- `triples`: our own triples file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from domains.relation_extraction.output.triples import read_triples
from suite.errors import InputError

Strings = tuple[str, str, str]
ByDocument = dict[str, list[Strings]]

_IDS = ("id", "doc_id", "document_id", "title")
_HEADS = ("head", "subject", "source")
_RELATIONS = ("relation", "predicate", "type")
_TAILS = ("tail", "object", "target")
_TEXTS = ("output", "generated_text", "prediction", "text")
_MARKS = re.compile(r"</?s>|<pad>|<unk>")
_REBEL = re.compile(r"<(triplet|subj|obj)>")


def read_peer(kind: str, path: Path, documents: Sequence[str]) -> ByDocument:
    """Return the triples of strings that a peer's file gives for each document.

    Args:
        kind: rebel, glirel, langextract or triples.
        documents: ids in the order of the data, for files whose lines stand for documents in that order.

    Raises:
        InputError: the file cannot be read or is not of its kind; one line with the place.
    """
    return _READERS[kind](path, documents)


def read_submission(path: Path) -> list[dict[str, Any]]:
    """Return the predictions of a DocRED submission.

    Raises:
        InputError: the file is not one.
    """
    records = _json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: a DocRED submission is a list of {{title, h_idx, t_idx, r}}")
    for number, record in enumerate(records):
        if not isinstance(record, dict) or not (
            isinstance(record.get("title"), str)
            and isinstance(record.get("r"), str)
            and all(isinstance(record.get(key), int) for key in ("h_idx", "t_idx"))
        ):
            raise InputError(f"{path}: prediction {number} is not {{title, h_idx, t_idx, r}}; write these four")
    return records


def rebel_triples(text: str) -> list[Strings]:
    """Read REBEL's linearised triples; a head stands for all `<subj>` that follow it."""
    found: list[Strings] = []
    head = tail = ""
    pieces = _REBEL.split(_MARKS.sub(" ", text))
    for mark, content in zip(pieces[1::2], pieces[2::2], strict=True):
        if mark == "triplet":
            head, tail = content.strip(), ""
        elif mark == "subj":
            tail = content.strip()
        elif head and tail and content.strip():
            found.append((head, content.strip(), tail))
    return found


def _rebel(path: Path, documents: Sequence[str]) -> ByDocument:
    lines = _lines(path)
    if not any(line.lstrip().startswith("{") for line in lines):
        if len(lines) != len(documents):
            raise InputError(
                f"{path}: {len(lines)} lines for {len(documents)} documents; write one line a document, or JSON lines "
                "with `id` and `text`"
            )
        return {document: rebel_triples(line) for document, line in zip(documents, lines, strict=True)}
    return {
        _field(record, _IDS, where): rebel_triples(_field(record, _TEXTS, where)) for record, where in _records(path)
    }


def _glirel(path: Path, documents: Sequence[str]) -> ByDocument:
    if path.suffix == ".jsonl":
        groups = [(_field(record, _IDS, where), record.get("relations"), where) for record, where in _records(path)]
    else:
        data = _json(path)
        if isinstance(data, dict):
            groups = [(name, relations, f'{path}: document "{name}"') for name, relations in data.items()]
        elif isinstance(data, list):
            places = [(record, f"{path}: entry {number}") for number, record in enumerate(data)]
            groups = [(_field(_mapping(r, w), _IDS, w), _mapping(r, w).get("relations"), w) for r, w in places]
        else:
            raise InputError(f"{path}: expected {{document id: [relations]}} or a list of {{id, relations}}")
    found: ByDocument = {}
    for name, relations, where in groups:
        if not isinstance(relations, list):
            raise InputError(f"{where}: `relations` must be a list of {{head_text, label, tail_text}}")
        found[name] = [_glirel_triple(_mapping(relation, where), where) for relation in relations]
    return found


def _glirel_triple(relation: Mapping[str, Any], where: str) -> Strings:
    ends = []
    for key in ("head_text", "tail_text"):
        value = relation.get(key)
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise InputError(f"{where}: `{key}` must be a string or a list of tokens, not {value!r}")
        ends.append(" ".join(words))
    return ends[0], _field(relation, ("label", *_RELATIONS), where), ends[1]


def _langextract(path: Path, documents: Sequence[str]) -> ByDocument:
    found: ByDocument = {}
    for record, where in _records(path):
        extractions = record.get("extractions")
        if not isinstance(extractions, list):
            raise InputError(f"{where}: `extractions` is missing; give langextract's annotated documents")
        triples = (_langextract_triple(_mapping(extraction, where)) for extraction in extractions)
        found.setdefault(_field(record, _IDS, where), []).extend(triple for triple in triples if triple)
    return found


def _langextract_triple(extraction: Mapping[str, Any]) -> Strings | None:
    """The triple of a relation; None for the extraction of an entity alone."""
    attributes = extraction.get("attributes") or {}
    tail = _first(attributes, _TAILS)
    head = _first(attributes, _HEADS) or extraction.get("extraction_text")
    relation = _first(attributes, _RELATIONS) or extraction.get("extraction_class")
    if not all(isinstance(part, str) and part for part in (head, relation, tail)):
        return None
    return str(head), str(relation), str(tail)


def _triples(path: Path, documents: Sequence[str]) -> ByDocument:
    found: ByDocument = {}
    for triple in read_triples(path):
        found.setdefault(triple.doc_id, []).append(triple.key)
    return found


_READERS: Mapping[str, Callable[[Path, Sequence[str]], ByDocument]] = {
    "rebel": _rebel,
    "glirel": _glirel,
    "langextract": _langextract,
    "triples": _triples,
}
PEERS = ("docred", *_READERS)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); give the system's JSON output") from error


def _lines(path: Path) -> list[str]:
    return _text(path).rstrip("\n").split("\n")


def _records(path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({error}); write one JSON object a line") from error
        yield _mapping(record, where), where


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, not {type(value).__name__}")
    return value


def _first(record: Any, keys: Sequence[str]) -> str | None:
    values = (record.get(key) for key in keys) if isinstance(record, dict) else iter(())
    return next((value for value in values if isinstance(value, str) and value), None)


def _field(record: Mapping[str, Any], keys: Sequence[str], where: str) -> str:
    value = next((record[key] for key in keys if isinstance(record.get(key), str)), None)
    if value is None:
        raise InputError(f"{where}: none of `{'`, `'.join(keys)}` is there as a string; add one")
    return value
