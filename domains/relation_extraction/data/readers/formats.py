"""One entrance for every format: find out what a source is and read it document by document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from domains.relation_extraction.data.documents import Document, plain_document
from domains.relation_extraction.data.readers.annotations import annotated_document
from domains.relation_extraction.data.readers.cdr import parse_cdr
from domains.relation_extraction.data.readers.docred import docred_document, hacred_document
from domains.relation_extraction.data.readers.opened import Item, Source
from domains.relation_extraction.data.readers.pubtator import pubtator_blocks, pubtator_document
from domains.relation_extraction.data.readers.sentence_level import (
    merged,
    semeval_records,
    sentence_document,
    trex_document,
)
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

FORMATS = (
    "auto",
    "text",
    "annotations",
    "docred",
    "hacred",
    "pubtator",
    "cdr",
    "fewrel",
    "wiki",
    "semeval",
    "nyt10",
    "instructuie",
    "trex",
)
_SENTENCE_LEVEL = frozenset({"fewrel", "wiki", "semeval", "nyt10", "instructuie"})
_MERGED = _SENTENCE_LEVEL | {"trex"}
_SUFFIXES = frozenset(
    {".txt", ".text", ".md", ".json", ".jsonl", ".ndjson", ".pubtator", ".data", ".html", ".htm", ".pdf", ".docx"}
)
_PUBTATOR = re.compile(r"[^|\t\n]+\|t\|")
_CDR = re.compile(r"[^\t\n]+\t[^\t\n]+\t\d+:\w+:\d+\t")
_SEMEVAL = re.compile(r'\d+\t"?.*<e1>')
_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_START = re.compile(r'\{\s*"|\[\s*(\{\s*"|\])')

Found = Document | InputError
P = ParamSpec("P")
T = TypeVar("T")


def read_documents(
    source: str | Path,
    *,
    schema: Schema | None = None,
    format: str = "auto",
    per_line: bool = False,
    encoding: str = "utf-8",
    labelled: bool = False,
    on_error: Callable[[InputError], None] | None = None,
) -> Iterator[Document]:
    """Yield the documents of a file, of a folder's files, or of standard input.

    Args:
        source: a path, or `-` for standard input.
        schema: the relations that labels are read with. An unknown property id or relation is an error in documents
            that are labelled as a whole; the sentence-level corpora and T-REx, which hold many more relations than any
            schema, give only the facts that it has. None: relations keep the name they have (ids of DocRED get theirs).
        format: one of `FORMATS`; `auto` looks at the file.
        per_line: whether each line of a plain text is a document of its own.
        encoding: of text files; a byte order mark is tolerated.
        labelled: whether every document must come with its labels (training, evaluation).
        on_error: called with the error of each document that cannot be read, and reading goes on with the next; None:
            the first error is raised.

    Raises:
        InputError: the source, a document or a label is wrong. One line: what, where, what to do.
    """
    if format not in FORMATS:
        raise InputError(f"format `{format}` is unknown; choose one of {', '.join(FORMATS)}")
    seen: dict[str, int] = {}
    for found in _everything(source, schema, format, per_line, encoding, labelled):
        item = _unique(found, seen, labelled, source) if isinstance(found, Document) else found
        if isinstance(item, Document):
            yield item
        elif on_error is None:
            raise item
        else:
            on_error(item)


def _everything(
    source: str | Path, schema: Schema | None, format: str, per_line: bool, encoding: str, labelled: bool
) -> Iterator[Found]:
    """Yield the documents of all files; an error ends its file, not the others."""
    for file in _files(source, format, encoding):
        some = False
        try:
            for found in _read_file(file, schema, format, per_line, labelled):
                some = True
                yield found
            if not some:
                yield InputError(f"{file.name}: it holds no documents; give at least one")
        except InputError as error:
            yield error


def _files(source: str | Path, format: str, encoding: str) -> Iterator[Source]:
    if str(source) == "-":
        yield Source.standard_input(encoding)
        return
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: no such file or folder; give an existing path, or - for standard input")
    if not path.is_dir():
        yield Source.file(path, encoding)
        return
    paths = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and file.suffix.lower() in _SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    paths = [file for file in paths if not _is_instructuie_extra(file, format)]
    if not paths:
        raise InputError(f"{source}: the folder has no documents; expected {', '.join(sorted(_SUFFIXES)[:9])} files")
    for file in paths:
        yield Source.file(file, encoding, root=path)


def _is_instructuie_extra(file: Path, format: str) -> bool:
    """Whether `file` is the label list or the test split of an InstructUIE folder: neither is for training."""
    if format not in ("auto", "instructuie") or not (file.parent / "labels.json").is_file():
        return False
    return file.name == "labels.json" or not re.search("train|dev", file.name)


def _read_file(file: Source, schema: Schema | None, format: str, per_line: bool, labelled: bool) -> Iterator[Found]:
    head = file.head
    kind = _kind(file, head, per_line) if format == "auto" else format
    if kind == "text":
        if labelled:
            raise InputError(
                f"{file.name}: plain text has no labels; give labelled documents (JSONL, DocRED, PubTator)"
            )
        yield from _read_text(file, per_line)
    elif kind == "pubtator":
        for block in pubtator_blocks(file.lines()):
            yield from _attempt(pubtator_document, block, file.name, schema)
    elif kind == "cdr":
        for number, line in file.lines():
            if line.strip():
                yield from _attempt(_cdr_document, line, f"{file.name} line {number}", schema)
    elif kind == "semeval" and _SEMEVAL.match(head):
        yield from _read_records(file, semeval_records(file.lines(), file.name), kind, schema, labelled)
    else:
        yield from _read_records(file, file.records(), kind, schema, labelled)


def _kind(file: Source, head: str, per_line: bool) -> str:
    """Tell the layout of a file that its user did not name; JSON of any kind is `auto`: its first record decides."""
    if not head.strip():
        raise InputError(f"{file.name}: the document is empty; give a text")
    if file.suffix in (".json", ".jsonl", ".ndjson"):
        return "auto"
    if file.suffix == ".pubtator" or _PUBTATOR.match(head):
        return "pubtator"
    if file.suffix == ".data" or _CDR.match(head):
        return "cdr"
    if _SEMEVAL.match(head):
        return "semeval"
    if per_line:
        return "text"
    return "auto" if _JSON_START.match(head) else "text"


def _read_text(file: Source, per_line: bool) -> Iterator[Found]:
    if not per_line:
        yield plain_document(file.text(), file.stem, where=file.name)
        return
    for number, line in file.lines():
        if line.strip():
            yield from _attempt(_line_document, line, f"{file.stem}:{number}", f"{file.name} line {number}")


def _line_document(line: str, id: str, where: str) -> Document:
    return plain_document(line, id, where=where)


def _cdr_document(line: str, where: str, schema: Schema | None) -> Document:
    return parse_cdr(line, where, schema).document


def _read_records(
    file: Source, records: Iterable[Item | InputError], kind: str, schema: Schema | None, labelled: bool
) -> Iterator[Found]:
    records = iter(records)
    waiting: list[Item | InputError] = []
    for record in records:
        waiting.append(record)
        if not isinstance(record, InputError):
            kind = _record_kind(record[1]) if kind == "auto" else kind
            break
    found = _documents(file, chain(waiting, records), kind, schema, labelled)
    if kind not in _MERGED:
        yield from (document for document in found if document is not None)
        return
    some = False
    for document in merged(found):
        some = True
        yield document
    if not some:
        raise InputError(f"{file.name}: no record has a relation of the schema; choose the schema of this data set")


def _documents(
    file: Source, records: Iterable[Item | InputError], kind: str, schema: Schema | None, labelled: bool
) -> Iterator[Found | None]:
    for number, record in enumerate(records, 1):
        if isinstance(record, InputError):
            yield record
            continue
        where, value = record
        yield from _attempt(_document, value, where, _id(file.stem, where, number), kind, schema, labelled)


def _document(value: Any, where: str, id: str, kind: str, schema: Schema | None, labelled: bool) -> Document | None:
    if kind == "docred":
        return docred_document(value, where, schema, labelled)
    if kind == "hacred":
        return hacred_document(value, where, id, schema, labelled)
    if kind == "trex":
        return trex_document(value, where, id, schema)
    if kind in _SENTENCE_LEVEL:
        return sentence_document(value, where, id, schema)
    return annotated_document(value, where, id, schema, labelled)


def _record_kind(value: Any) -> str:
    """Tell the format of a JSON record by its keys."""
    if not isinstance(value, dict):
        return "annotations"
    if "sents" in value or "vertexSet" in value:
        return "docred"
    if "vertex_char" in value or "labels_char" in value:
        return "hacred"
    if "sentence" in value and "relations" in value:
        return "instructuie"
    if "token" in value or {"h", "t"} <= value.keys():
        return "fewrel"
    triples = value.get("triples")
    predicates = isinstance(triples, list) and triples and isinstance(triples[0], dict) and "predicate" in triples[0]
    return "trex" if predicates or {"docid", "uri"} <= value.keys() else "annotations"


def _id(stem: str, where: str, number: int) -> str:
    line = where.rpartition(" line ")[2]
    return f"{stem}:{line if line.isdigit() else number}"


def _attempt(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Iterator[T | InputError]:
    """Yield what `make` returns, or the `InputError` that it raises."""
    try:
        yield make(*args, **kwargs)
    except InputError as error:
        yield error


def _unique(document: Document, seen: dict[str, int], labelled: bool, source: str | Path) -> Found:
    """Return `document` with an id that no earlier one has; an error if it is gold, or a name cannot be written."""
    names = (name for entity in document.entities for name in entity.names)
    if any(_SURROGATE.search(text) for text in (document.id, *names, *(fact.relation for fact in document.facts))):
        return InputError(f"{source}: document {document.id!r} has half a surrogate pair in a name; write it whole")
    seen[document.id] = seen.get(document.id, 0) + 1
    if seen[document.id] == 1:
        return document
    if labelled:
        return InputError(f'{source}: duplicate title "{document.id}"; give every labelled document its own')
    id = f"{document.id}#{seen[document.id]}"
    seen.setdefault(id, 1)
    return replace(document, id=id)
