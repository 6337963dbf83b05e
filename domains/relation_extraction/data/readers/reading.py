"""One entrance for every format: find out what a source is and read it document by document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.data.readers.bioc import bioc_records
from domains.relation_extraction.data.readers.brat import is_brat
from domains.relation_extraction.data.readers.formats import (
    FORMATS,
    JSON_SUFFIXES,
    DocumentOrError,
    Format,
    Reading,
    attempt,
)
from domains.relation_extraction.data.readers.opened import Item, Opened, check_encoding
from domains.relation_extraction.data.readers.sentence_level import fewrel_records, is_fewrel_table, merged
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError
from suite.prediction.inputs import files_in

_SURROGATE = re.compile("[\ud800-\udfff]")
_JSON_START = re.compile(r'\{\s*"|\[\s*(\{\s*"|\]\s*$)')


def read_documents(
    source: str | Path,
    *,
    schema: Schema | None = None,
    format: str = "auto",
    per_line: bool = False,
    encoding: str = "utf-8",
    labelled: bool = False,
    text_only: bool = False,
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
        text_only: read documents whose labels are wrong without them, as prediction does.
        on_error: called with the error of each document that cannot be read, and reading goes on with the next; None:
            the first error is raised.

    Raises:
        InputError: the source, a document or a label is wrong. One line: what, where, what to do.
    """
    check_reading(format, encoding)
    seen: dict[str, int] = {}
    for found in _everything(source, format, encoding, Reading(schema, labelled, per_line, text_only)):
        item = _unique(found, seen, labelled, source) if isinstance(found, Document) else found
        if isinstance(item, Document):
            yield item
        elif on_error is None:
            raise item
        else:
            on_error(item)


def check_reading(format: str, encoding: str) -> None:
    """Check how sources are to be read, before they are.

    Raises:
        InputError: there is no such format or encoding.
    """
    if format not in FORMATS and format != "auto":
        raise InputError(f"format `{format}` is unknown; choose one of auto, {', '.join(FORMATS)}")
    check_encoding(encoding)


def _everything(source: str | Path, format: str, encoding: str, asked: Reading) -> Iterator[DocumentOrError]:
    """Yield the documents of all files; an error ends its file, not the others."""
    for file in _files(source, format, encoding):
        some = False
        try:
            for found in _read_file(file, format, asked):
                some = True
                yield found
            if not some:
                yield InputError(f"{file.name}: it holds no documents; give at least one")
        except InputError as error:
            yield error


def _files(source: str | Path, format: str, encoding: str) -> Iterator[Opened]:
    if str(source) == "-":
        yield Opened.standard_input(encoding)
        return
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: no such file or folder; give an existing path, or - for standard input")
    if not path.is_dir():
        yield Opened.file(path, encoding)
        return
    known = [suffix for form in FORMATS.values() for suffix in form.suffixes]
    try:
        paths = [file for file in files_in(path, known) if not _is_instructuie_extra(file, format)]
    except InputError:  # it names every suffix
        paths = []
    if not paths:
        raise InputError(f"{source}: the folder has no documents; expected {', '.join(sorted(known)[:9])} files")
    for file in paths:
        yield Opened.file(file, encoding, root=path)


def _is_instructuie_extra(file: Path, format: str) -> bool:
    """Whether `file` is the label list or the test split of an InstructUIE folder: neither is for training."""
    if format not in ("auto", "instructuie") or not (file.parent / "labels.json").is_file():
        return False
    return file.name == "labels.json" or not re.search("train|dev", file.name)


def _read_file(file: Opened, format: str, asked: Reading) -> Iterator[DocumentOrError]:
    head = file.head
    kind = _kind(file, head, asked.per_line) if format == "auto" else format
    form = FORMATS.get(kind)
    if form is not None and form.read is not None:
        yield from form.read(file, asked)
    elif form is not None and form.records is not None and (form.begins is None or form.begins.match(head)):
        yield from _read_records(file, form.records(file), kind, asked)
    else:
        yield from _read_records(file, file.records(), kind, asked)


def _kind(file: Opened, head: str, per_line: bool) -> str:
    """Tell the format of a file that its user did not name; JSON of any kind is `auto`: its first record decides."""
    if not head.strip():
        raise InputError(f"{file.name}: the document is empty; give a text")
    if file.suffix in JSON_SUFFIXES:
        return "auto"
    if is_brat(file.path) and not per_line:
        return "brat"
    for name, form in FORMATS.items():
        if (form.own and file.suffix == form.own) or (form.begins is not None and form.begins.match(head)):
            return name
    if per_line:
        return "text"
    return "auto" if _JSON_START.match(head) else "text"


def _record_kind(value: Any) -> str:
    """Tell the format of a JSON record by its keys."""
    if is_fewrel_table(value):
        return "fewrel"
    known = (name for name, form in FORMATS.items() if isinstance(value, dict) and form.fits(value))
    return next(known, "annotations")


def _read_records(
    file: Opened, records: Iterable[Item | InputError], kind: str, asked: Reading
) -> Iterator[DocumentOrError]:
    records = bioc_records(records)
    waiting: list[Item | InputError] = []
    for record in records:
        waiting.append(record)
        if not isinstance(record, InputError):
            kind = _record_kind(record[1]) if kind == "auto" else kind
            break
    form = FORMATS["annotations" if kind == "auto" else kind]
    found = _documents(file, fewrel_records(chain(waiting, records)), form, asked)
    if not form.merged:
        yield from (document for document in found if document is not None)
        return
    some = False
    for document in merged(found):
        some = True
        yield document
    if not some:
        raise InputError(f"{file.name}: no record has a relation of the schema; choose the schema of this data set")


def _documents(
    file: Opened, records: Iterable[Item | InputError], form: Format, asked: Reading
) -> Iterator[DocumentOrError | None]:
    assert form.document is not None
    for number, record in enumerate(records, 1):
        if isinstance(record, InputError):
            yield record
            continue
        where, value = record
        yield from attempt(form.document, value, where, _id(file.stem, where, number), asked)


def _id(stem: str, where: str, number: int) -> str:
    line = where.rpartition(" line ")[2]
    return f"{stem}:{line if line.isdigit() else number}"


def _unique(document: Document, seen: dict[str, int], labelled: bool, source: str | Path) -> DocumentOrError:
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
