"""From strings of the model's text to spans of the user's own text."""

from __future__ import annotations

from collections.abc import Iterable

from domains.relation_extraction.data.documents import Document, occurrences
from domains.relation_extraction.inference.extraction import Found
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.types import Argument, Origin, Span, Triple


def ground(
    found: Iterable[Found], document: Document, schema: Schema, *, paradigm: str, protocol: str, adapter: str
) -> list[Triple]:
    """Return the triples with exact spans: `document.source_text[start:end]` is the string that is reported.

    Args:
        document: the whole document, also where the triples come from chunks of it.
        paradigm, protocol, adapter: where the triples come from, for their `Origin`.
    """
    places: dict[str, tuple[tuple[int, int], ...]] = {}
    arguments: dict[str, Argument] = {}
    triples = []
    for one in found:
        for name in (one.head, one.tail):
            if name not in places:
                places[name] = _places(document.text, name)
                arguments[name] = _argument(document, name, places[name])
        relation = schema.find(one.relation)
        triples.append(
            Triple(
                doc_id=document.id,
                head=arguments[one.head],
                relation=one.relation,
                tail=arguments[one.tail],
                pid=relation.pid if relation else None,
                score=one.score,
                score_relation=one.score_relation,
                score_head=one.score_head,
                evidence=_evidence(document, places[one.head], places[one.tail]),
                source=Origin(paradigm, protocol, adapter, one.chunks),
            )
        )
    return triples


def _places(text: str, name: str) -> tuple[tuple[int, int], ...]:
    """Where `name` stands as whole words; anywhere, where it never does (scripts without spaces, parts of words)."""
    found = occurrences(text, name)
    whole = [place for place in found if _bounded(text, *place)]
    return tuple(whole or found)


def _bounded(text: str, start: int, end: int) -> bool:
    before = start == 0 or not (text[start - 1].isalnum() and text[start].isalnum())
    return before and (end == len(text) or not (text[end - 1].isalnum() and text[end].isalnum()))


def _argument(document: Document, name: str, places: Iterable[tuple[int, int]]) -> Argument:
    spans = tuple(_trimmed(document.source_text, document.to_source(*place)) for place in places)
    if not spans:
        return Argument(name)
    first = spans[0]
    return Argument(document.source_text[first.start : first.end], spans)


def _trimmed(text: str, span: Span) -> Span:
    start, end = span.start, span.end
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return Span(start, end)


def _evidence(
    document: Document, heads: Iterable[tuple[int, int]], tails: Iterable[tuple[int, int]]
) -> tuple[int, ...]:
    def sentences(places: Iterable[tuple[int, int]]) -> set[int | None]:
        return {document.sentence_at(start) for start, _ in places}

    return tuple(sorted(index for index in sentences(heads) & sentences(tails) if index is not None))
