"""The formats of documents: one table. A further format is a row in it and the functions that it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from domains.relation_extraction.data.documents import Document, plain_document
from domains.relation_extraction.data.readers.annotations import LABELS, annotated_document
from domains.relation_extraction.data.readers.bioc import bioc_document, bioc_text, bioc_xml, is_bioc
from domains.relation_extraction.data.readers.brat import brat_document
from domains.relation_extraction.data.readers.cdr import cdr_text, parse_cdr
from domains.relation_extraction.data.readers.docred import docred_document, hacred_document
from domains.relation_extraction.data.readers.opened import Item, Opened
from domains.relation_extraction.data.readers.pubtator import (
    Line,
    pubtator_blocks,
    pubtator_document,
    without_labels,
    without_relations,
)
from domains.relation_extraction.data.readers.sentence_level import (
    semeval_records,
    sentence_document,
    sentence_text,
    trex_document,
)
from domains.relation_extraction.data.readers.table import table_records
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

_XML = re.compile(r"<\?xml|<!DOCTYPE|<collection\b")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")

DocumentOrError = Document | InputError
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """What a format's functions may need beside the file.

    Attributes:
        schema: relations that labels are read with. labelled: whether labels must be there.
        per_line: whether each line of a plain text is a document.
        text_only: whether the texts count alone.
    """

    schema: Schema | None
    labelled: bool
    per_line: bool
    text_only: bool = False


@dataclass(frozen=True)
class Format:
    """A format of documents.

    Attributes:
        suffixes: of files in a folder that are read; the first ones are named to users.
        own: the suffix that only files of this format have. begins: what their text begins with.
        fits: whether a JSON record is of this format; asked in the order of the table.
        document: of one JSON record, its place and its id; None skips the record.
        records: of a file that is not JSON but of records all the same, those records.
        read: the documents of a whole file, where they are no records.
        merged: whether records about one text are one document.
    """

    suffixes: tuple[str, ...] = ()
    own: str = ""
    begins: re.Pattern[str] | None = None
    fits: Callable[[Mapping[str, Any]], bool] = lambda record: False
    document: Callable[[Any, str, str, Reading], Document | None] | None = None
    records: Callable[[Opened], Iterable[Item | InputError]] | None = None
    read: Callable[[Opened, Reading], Iterator[DocumentOrError]] | None = None
    merged: bool = False


def attempt(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Iterator[T | InputError]:
    """Yield what `make` returns, or the `InputError` that it raises."""
    try:
        yield make(*args, **kwargs)
    except InputError as error:
        yield error


def _read_text(file: Opened, asked: Reading) -> Iterator[DocumentOrError]:
    if asked.labelled:
        raise InputError(f"{file.name}: plain text has no labels; give labelled documents (JSONL, DocRED, PubTator)")
    if not asked.per_line:
        yield plain_document(file.text(), file.stem, where=file.name)
        return
    for number, line in file.lines():
        if line.strip():
            yield from attempt(plain_document, line, f"{file.stem}:{number}", where=f"{file.name} line {number}")


def _read_pubtator(file: Opened, asked: Reading) -> Iterator[DocumentOrError]:
    def read(block: list[Line]) -> Document:
        return pubtator_document(block, file.name, asked.schema)

    for block in pubtator_blocks(file.lines()):
        poorer = (without_relations, without_labels) if asked.text_only else ()
        yield from attempt(_first_readable, read, block, poorer)


def _read_cdr(file: Opened, asked: Reading) -> Iterator[DocumentOrError]:
    for number, line in file.lines():
        if line.strip():
            where = f"{file.name} line {number}"
            poorer = (cdr_text,) if asked.text_only else ()
            yield from attempt(
                _first_readable, lambda one, where=where: parse_cdr(one, where, asked.schema).document, line, poorer
            )


def _first_readable(read: Callable[[T], Document], value: T, poorer: Sequence[Callable[[T], T]] = ()) -> Document:
    """What `read` makes of `value`, or of the first of the poorer values, without labels, that it can read.

    Raises:
        InputError: it can read none of them; the last one's.
    """
    for number, without in enumerate((None, *poorer)):
        try:
            return read(value if without is None else without(value))
        except InputError:
            if number == len(poorer):
                raise
    raise AssertionError


def _bioc(value: Any, where: str, id: str, asked: Reading) -> Document:
    poorer = (bioc_text,) if asked.text_only else ()
    return _first_readable(lambda record: bioc_document(record, where, id, asked.schema), value, poorer)


def _read_brat(file: Opened, asked: Reading) -> Iterator[DocumentOrError]:
    def read(labels: bool) -> Document:
        return brat_document(file, asked.schema, labels=labels)

    yield from attempt(_first_readable, read, True, (lambda labels: False,) if asked.text_only else ())


def _without(*keys: str) -> Callable[[Any], Any]:
    """Takes keys out of a record."""
    return lambda record: {key: value for key, value in record.items() if key not in keys}


def _record(
    document: Callable[[Any, str, str, Reading], Document], *labels: tuple[str, ...]
) -> Callable[[Any, str, str, Reading], Document]:
    """Reads a record; where its text alone counts, without the labels, or more and more of them, if they are wrong."""

    def read(value: Any, where: str, id: str, asked: Reading) -> Document:
        poorer = [_without(*keys) for keys in labels] if asked.text_only and isinstance(value, dict) else []
        return _first_readable(lambda record: document(record, where, id, asked), value, poorer)

    return read


_annotated = _record(
    lambda value, where, id, asked: annotated_document(value, where, id, asked.schema, asked.labelled), LABELS
)
_docred = _record(
    lambda value, where, id, asked: docred_document(value, where, asked.schema, asked.labelled),
    ("labels",),
    ("labels", "vertexSet"),
)
_hacred = _record(
    lambda value, where, id, asked: hacred_document(value, where, id, asked.schema, asked.labelled),
    ("labels_char",),
    ("labels_char", "vertex_char"),
)


def _sentence(value: Any, where: str, id: str, asked: Reading) -> Document | None:
    """A record of a sentence-level corpus; one without a usable relation is skipped, unless the text alone counts."""
    read = trex_document if _is_trex(value) else sentence_document
    try:
        if (found := read(value, where, id, asked.schema)) is not None or not asked.text_only:
            return found
    except InputError:
        if not asked.text_only:
            raise
    return sentence_text(value, where, id)


def _is_trex(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    triples = record.get("triples")
    predicates = isinstance(triples, list) and triples and isinstance(triples[0], dict) and "predicate" in triples[0]
    return bool(predicates) or {"docid", "uri"} <= record.keys()


FORMATS: Mapping[str, Format] = {
    "text": Format((".txt", ".text", ".md", ".html", ".htm", ".pdf", ".docx"), read=_read_text),
    "annotations": Format(
        JSON_SUFFIXES,
        document=_annotated,
    ),
    "csv": Format((".csv",), ".csv", records=table_records, document=_annotated),
    "tsv": Format((".tsv",), ".tsv", records=partial(table_records, delimiter="\t"), document=_annotated),
    "docred": Format(
        fits=lambda record: "sents" in record or "vertexSet" in record,
        document=_docred,
    ),
    "hacred": Format(
        fits=lambda record: "vertex_char" in record or "labels_char" in record,
        document=_hacred,
    ),
    "bioc": Format((".xml",), "", _XML, fits=is_bioc, records=bioc_xml, document=_bioc),
    "brat": Format(read=_read_brat),
    "pubtator": Format((".pubtator",), ".pubtator", re.compile(r"[^|\t\n]+\|t\|"), read=_read_pubtator),
    "cdr": Format((".data",), ".data", re.compile(r"[^\t\n]+\t[^\t\n]+\t\d+:\w+:\d+\t"), read=_read_cdr),
    "instructuie": Format(
        fits=lambda record: "sentence" in record and "relations" in record, document=_sentence, merged=True
    ),
    "fewrel": Format(
        fits=lambda record: "token" in record or {"h", "t"} <= record.keys(), document=_sentence, merged=True
    ),
    "wiki": Format(document=_sentence, merged=True),
    "semeval": Format(
        begins=re.compile(r'\d+\t"?.*<e1>'),
        records=lambda file: semeval_records(file.lines(), file.name),
        document=_sentence,
        merged=True,
    ),
    "nyt10": Format(document=_sentence, merged=True),
    "trex": Format(
        fits=_is_trex,
        document=_sentence,
        merged=True,
    ),
}
