"""From strings of the model's text to spans of the user's own text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from domains.relation_extraction.data.documents import Document, occurrences
from domains.relation_extraction.inference.extraction import Found
from domains.relation_extraction.model.schema import Relation, Schema
from domains.relation_extraction.types import Argument, Origin, Span, Triple

Place = tuple[int, int]
Places = tuple[Place, ...]
"""Where a name stands in the text that the model reads, first places first."""


def ground(
    found: Iterable[Found],
    document: Document,
    schema: Schema,
    *,
    paradigm: str,
    protocol: str,
    adapter: str,
    within: tuple[int, int] | None = None,
) -> list[Triple]:
    """Return the triples with exact spans: `document.source_text[start:end]` is the string that is reported.

    Args:
        document: the whole document, also where the triples come from chunks of it.
        paradigm, protocol, adapter: where the triples come from, for their `Origin`.
        within: the chunk of the document's text that states them.
    """
    found = list(found)
    names = dict.fromkeys(name for one in found for name in (one.head, one.tail))
    places = _apart({name: _places(document.text, name) for name in names})
    named = {name: entity.type for entity in document.entities for name in entity.names}
    triples = []
    for one in found:
        relation = schema.find(one.relation)
        head, tail = _stating(document, places[one.head], places[one.tail], within)
        kinds = named.get(one.head) or _only(relation, "head"), named.get(one.tail) or _only(relation, "tail")
        triples.append(
            Triple(
                doc_id=document.id,
                head=_argument(document, one.head, places[one.head], head, kinds[0]),
                relation=one.relation,
                tail=_argument(document, one.tail, places[one.tail], tail, kinds[1]),
                pid=relation.pid if relation else None,
                score=one.score,
                score_relation=one.score_relation,
                score_head=one.score_head,
                evidence=_evidence(document, places[one.head], places[one.tail]),
                source=Origin(paradigm, protocol, adapter, one.chunks),
            )
        )
    return triples


def overlapping(triple: Triple) -> bool:
    """Whether head and tail never stand apart: one inside the other wherever they do, which states nothing."""
    heads, tails = triple.head.mentions, triple.tail.mentions
    if not (heads and tails):
        return False
    # Not all pairs at once: of a name in every line of a long document there are millions, and the first tells.
    return all(head.start < tail.end and tail.start < head.end for head in heads for tail in tails)


def _places(text: str, name: str) -> Places:
    """Where `name` stands as whole words; anywhere, where it never does (scripts without spaces, parts of words)."""
    found = occurrences(text, name)
    whole = [place for place in found if _bounded(text, *place)]
    return tuple(whole or found)


def _bounded(text: str, start: int, end: int) -> bool:
    before = start == 0 or not (text[start - 1].isalnum() and text[start].isalnum())
    return before and (end == len(text) or not (text[end - 1].isalnum() and text[end].isalnum()))


def _apart(places: Mapping[str, Places]) -> dict[str, Places]:
    """Leave out the places of a name that lie inside of another found name, unless it stands nowhere else.

    "Port Selmar" is no mention of the port where the text says "Port Selmar Foundry".
    """
    apart = {}
    for name, own in places.items():
        longer = [place for other, some in places.items() if name != other and name in other for place in some]
        free = tuple(place for place in own if not any(a <= place[0] and place[1] <= b for a, b in longer))
        apart[name] = free or own
    return apart


def _stating(
    document: Document, heads: Places, tails: Places, within: tuple[int, int] | None
) -> tuple[Place | None, Place | None]:
    """The mentions of head and tail that state the fact: in the first sentence that holds both, and nearest each other.

    Where no sentence does, a head and the nearest tail after it. Of a head without a tail, or the other way round, the
    first mention.
    """
    start, end = within or (0, len(document.text))
    inside = [
        [place for place in some if start <= place[0] and place[1] <= end] or list(some) for some in (heads, tails)
    ]
    heads_inside, tails_inside = inside
    if not (heads_inside and tails_inside):
        return next(iter(heads_inside), None), next(iter(tails_inside), None)
    sentences = {place: document.sentence_at(place[0]) for place in {*heads_inside, *tails_inside}}

    def cost(pair: tuple[Place, Place]) -> tuple[bool, int, int, bool, int, int]:
        head, tail = pair
        gap = max(head[0], tail[0]) - min(head[1], tail[1])
        parts = _runs_on(document.text, head) + _runs_on(document.text, tail)
        # Ends that overlap are one mention read twice: worse than any two apart.
        apart, together = sentences[head] != sentences[tail], sentences[head] or 0
        # Where no sentence holds both, one of them goes by a pronoun, mostly the subject, which was named before.
        backwards = apart and tail < head
        return apart, parts, 0 if apart else together, backwards, gap if gap >= 0 else len(document.text), head[0]

    return min(_pairs(heads_inside, tails_inside), key=cost)


def _pairs(heads: Sequence[Place], tails: Sequence[Place]) -> Iterator[tuple[Place, Place]]:
    """Every head with the tails next to it: enough to find the nearest pair, and linear in the mentions."""
    for head in heads:
        at = bisect_left(tails, head)
        yield from ((head, tail) for tail in tails[max(at - 2, 0) : at + 2])


def _runs_on(text: str, place: Place) -> bool:
    """Whether a capitalised word goes on right after a capitalised name: the name is then part of a longer one."""
    start, end = place
    return text[start].isupper() and text[end : end + 1] == " " and text[end + 1 : end + 2].isupper()


def _only(relation: Relation | None, end: Literal["head", "tail"]) -> str | None:
    """The type of one end where the schema allows a single one."""
    types = () if relation is None else relation.head_types if end == "head" else relation.tail_types
    return types[0] if len(types) == 1 else None


def _argument(document: Document, name: str, places: Iterable[Place], own: Place | None, type: str | None) -> Argument:
    spans = tuple(_trimmed(document.source_text, document.to_source(*place)) for place in places)
    if not spans or own is None:
        return Argument(name, type=type)
    stating = _trimmed(document.source_text, document.to_source(*own))
    text = document.source_text[stating.start : stating.end]
    return Argument(text, spans, None if stating == spans[0] else stating, type)


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
