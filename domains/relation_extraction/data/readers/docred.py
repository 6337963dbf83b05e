"""DocRED, Re-DocRED and HacRED: documents whose entities carry all their mentions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from domains.relation_extraction.data.documents import Document, Entity, Fact, Mention, check_text, joined, occurrences
from domains.relation_extraction.data.readers.fields import field, index, mapping, relation_of, strings
from domains.relation_extraction.data.sentences import split_sentences
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError


def docred_document(record: Any, where: str, schema: Schema | None = None, labelled: bool = False) -> Document:
    """Make a document of one (Re-)DocRED record: `title`, `sents`, `vertexSet`, `labels`.

    The text is all tokens of all sentences joined by single spaces. A mention keeps its `name` even where that differs
    from the words at its place; `documents.refine` repairs what has to be repaired.

    Args:
        where: what error messages call the record.
        schema: what the labels' property ids are looked up in; None: names of the built-in schema where it has them.
        labelled: whether `labels` must be there.

    Raises:
        InputError: a mention or a label points outside the document, a property id is unknown, `labels` is missing.
    """
    record = mapping(record, where)
    title = field(record, "title", str, where)
    where = f'{where} "{title}"'
    sentences = _sentences(field(record, "sents", list, where), where)
    text, starts = joined(sentences)
    check_text(text, where)
    entities = _entities(
        record.get("vertexSet", []),
        where,
        lambda mention, place: [_mention(mention, place, sentences, text, starts)],
    )
    facts = (
        _fact(label, place, schema, len(entities), len(sentences))
        for label, place in _labels(record, "labels", labelled, where)
    )
    # A sentence without tokens keeps its place: mentions and evidence count sentences.
    spans = tuple((row[0], max(row[-1] - 1, row[0])) for row in starts)
    return Document(title, text, spans, entities, _distinct(facts), tokenized=True)


def hacred_document(record: Any, where: str, id: str, schema: Schema | None = None, labelled: bool = False) -> Document:
    """Make a document of one HacRED record: `text`, `vertex_char`, `labels_char` (relations by name).

    Raises:
        InputError: as for `docred_document`.
    """
    record = mapping(record, where)
    text = field(record, "text", str, where)
    check_text(text, where)
    entities = _entities(
        record.get("vertex_char", []), where, lambda mention, place: _mentions_by_name(mention, place, text)
    )
    facts = (
        _fact(label, place, schema, len(entities)) for label, place in _labels(record, "labels_char", labelled, where)
    )
    return Document(id, text, tuple(split_sentences(text)), entities, _distinct(facts))


def _entities(vertices: Any, where: str, mentions_of: Callable[[Any, str], Iterable[Mention]]) -> tuple[Entity, ...]:
    return tuple(
        Entity(
            str(number),
            _type(mentions),
            tuple(
                found
                for place, mention in enumerate(mentions)
                for found in mentions_of(mention, f"{where}: entity {number} mention {place}")
            ),
        )
        for number, mentions in enumerate(_vertices(vertices, where))
    )


def _labels(record: Mapping[str, Any], key: str, needed: bool, where: str) -> list[tuple[Any, str]]:
    """The labels of a record, each with its place."""
    if needed and key not in record:
        raise InputError(f"{where}: `{key}` is missing; evaluation and training need a file with labels")
    labels = record.get(key, [])
    if not isinstance(labels, list):
        raise InputError(f"{where}: `{key}` must be a list, not {type(labels).__name__}")
    return [(label, f"{where}: label {number}") for number, label in enumerate(labels)]


def _sentences(value: list[Any], where: str) -> list[list[str]]:
    if not all(isinstance(sentence, list) for sentence in value):
        raise InputError(f"{where}: `sents` must be a list of token lists")
    return [strings(sentence, f"{where}: sentence {number}") for number, sentence in enumerate(value)]


def _vertices(value: Any, where: str) -> list[list[Any]]:
    if not isinstance(value, list) or not all(isinstance(mentions, list) and mentions for mentions in value):
        raise InputError(f"{where}: the entities must be a list of non-empty lists of mentions")
    return value


def _type(mentions: Sequence[Any]) -> str | None:
    kind = mentions[0].get("type") if isinstance(mentions[0], dict) else None
    return kind if isinstance(kind, str) else None


def _mention(
    value: Any,
    where: str,
    sentences: list[list[str]],
    text: str,
    starts: list[list[int]],
) -> Mention:
    value = mapping(value, where)
    number = field(value, "sent_id", int, where)
    if not 0 <= number < len(sentences):
        raise InputError(
            f"{where}: `sent_id` {number} is out of range, the document has {len(sentences)} sentences; correct it"
        )
    first, last = _pair(value.get("pos"), where)
    if not 0 <= first < last <= len(sentences[number]):
        raise InputError(
            f"{where}: `pos` [{first}, {last}) is out of range, sentence {number} has {len(sentences[number])} tokens; "
            "correct it"
        )
    start, end = starts[number][first], starts[number][last] - 1
    if not text[start:end].strip():
        raise InputError(f"{where}: the tokens at `pos` [{first}, {last}) are blank; correct it")
    name = value.get("name", text[start:end])
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: `name` must be a non-empty string, not {name!r}")
    return Mention(start, end, name, number)


def _mentions_by_name(value: Any, where: str, text: str) -> list[Mention]:
    """Return the mention at its `pos` where that holds its name, else one mention for each place of the name."""
    value = mapping(value, where)
    name = field(value, "name", str, where)
    place = value.get("pos")
    if isinstance(place, list) and len(place) == 2 and all(isinstance(offset, int) for offset in place):
        start, end = place
        if 0 <= start < end and text[start:end] == name:
            return [Mention(start, end, name)]
    found = occurrences(text, name)
    if not found:
        raise InputError(f'{where}: "{name}" does not occur in the text; correct the name')
    return [Mention(start, end, name) for start, end in found]


def _pair(value: Any, where: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(type(offset) is int for offset in value):
        raise InputError(f"{where}: `pos` must be [start, end), two whole numbers, not {value!r}")
    return value[0], value[1]


def _fact(value: Any, where: str, schema: Schema | None, entities: int, sentences: int | None = None) -> Fact:
    value = mapping(value, where)
    head, tail = (index(value, key, entities, where, "vertexSet") for key in ("h", "t"))
    name, pid = relation_of(field(value, "r", str, where), schema, where)
    evidence = value.get("evidence", [])
    if not isinstance(evidence, list) or not all(type(number) is int for number in evidence):
        raise InputError(f"{where}: `evidence` must be a list of sentence numbers, not {evidence!r}")
    if sentences is not None and (outside := [number for number in evidence if not 0 <= number < sentences]):
        raise InputError(
            f"{where}: evidence {outside[0]} is out of range, the document has {sentences} sentences; correct it"
        )
    return Fact(head, tail, name, pid, tuple(evidence))


def _distinct(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Drop facts that say the same again: a repeated gold fact could never be matched twice."""
    kept: dict[tuple[int, int, str], Fact] = {}
    for fact in facts:
        kept.setdefault((fact.head, fact.tail, fact.relation), fact)
    return tuple(kept.values())
