"""Documents longer than the model's budget: cut at sentence ends with overlap, results merged, nothing lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from domains.relation_extraction.data.align import Alignment
from domains.relation_extraction.data.documents import Document, Entity, Fact
from domains.relation_extraction.types import Argument, Triple
from suite.errors import InputError


@dataclass(frozen=True)
class Chunk:
    """A piece of a document.

    Attributes:
        index: its number, from 0 on.
        start, end: where it stands in the text of the whole document.
        first_sentence: index in the whole document of its first sentence.
        document: the piece as a document; its `raw` leads to the user's whole text, so spans need no shifting.
    """

    index: int
    start: int
    end: int
    first_sentence: int
    document: Document


def chunk(document: Document, budget: Callable[[str], int], limit: int, overlap_sentences: int = 1) -> list[Chunk]:
    """Cut `document` into pieces whose cost is at most `limit`; a document within it is one piece.

    A sentence that alone is over the limit is cut between words, and a word that is, inside: no text is left out.

    Args:
        budget: cost of a passage, its number of tokens for example. Must not fall when text is added.
        overlap_sentences: how many sentences two neighbours share, where that leaves room for a new one.

    Raises:
        InputError: the limit leaves no room for a single character, or the overlap is negative.
    """
    if overlap_sentences < 0:
        raise InputError(f"overlap of {overlap_sentences} sentences: give 0 or more")
    if budget(document.text) <= limit:
        return [Chunk(0, 0, len(document.text), 0, document)]
    units = _units(document, budget, limit)
    chunks: list[Chunk] = []
    first = 0
    while first < len(units):
        last = _last_that_fits(document.text, units, first, budget, limit)
        chunks.append(_piece(document, len(chunks), units[first][0], units[last - 1][1]))
        if last == len(units):
            break
        # Sharing sentences is worth nothing when the next piece could then hold no new one.
        following = max(last - overlap_sentences, first + 1)
        while following < last and _last_that_fits(document.text, units, following, budget, limit) <= last:
            following += 1
        first = following
    return chunks


def merge_triples(triples: Iterable[Triple]) -> list[Triple]:
    """Merge what several chunks of one document gave: equal triples first, then those that differ in case or spacing.

    Returns:
        the triples in order of first appearance, with the spelling of the most frequent variant (the first of those),
        the highest score, all mentions, all evidence and all chunks.
    """
    exact: dict[tuple[str, str, str, str], Triple] = {}
    count: dict[tuple[str, str, str, str], int] = {}
    for triple in triples:
        key = (triple.doc_id, *triple.key)
        exact[key] = _joined(exact[key], triple) if key in exact else triple
        count[key] = count.get(key, 0) + 1
    clusters: dict[tuple[str, ...], list[tuple[str, str, str, str]]] = {}
    for key in exact:
        clusters.setdefault((key[0], cluster_key(key[1]), key[2], cluster_key(key[3])), []).append(key)
    merged = []
    for keys in clusters.values():
        best, *others = sorted(keys, key=lambda key: -count[key])
        triple = exact[best]
        for other in others:
            triple = _joined(triple, exact[other])
        merged.append(triple)
    return merged


def cluster_key(name: str) -> str:
    """What makes two names the same entity: case-folded, white space normalised. Never a fuzzy score."""
    return " ".join(name.casefold().split())


def _units(document: Document, budget: Callable[[str], int], limit: int) -> list[tuple[int, int]]:
    """Return the spans that may be packed: the sentences, those over the limit cut."""
    units = []
    for start, end in document.sentences:
        while start < end:
            cut = _fitting_end(document.text, start, end, budget, limit)
            units.append((start, cut))
            start = cut
            while start < end and document.text[start].isspace():
                start += 1
    return units


def _fitting_end(text: str, start: int, end: int, budget: Callable[[str], int], limit: int) -> int:
    """Return the last place up to `end` to which `text[start:]` fits, between words where there is such a place."""
    fits, over, step = start, start, 64
    while over < end:
        over = min(start + step, end)
        if budget(text[start:over]) > limit:
            break
        fits, step = over, 2 * step
    if fits == end:
        return end
    while over - fits > 1:
        middle = (fits + over) // 2
        if budget(text[start:middle]) <= limit:
            fits = middle
        else:
            over = middle
    if fits == start:
        raise InputError(f"chunk limit {limit} has no room for a single character; raise the limit")
    word = max(text.rfind(blank, start, fits + 1) for blank in " \t\n\u3000")
    return word if word > start else fits


def _last_that_fits(
    text: str, units: list[tuple[int, int]], first: int, budget: Callable[[str], int], limit: int
) -> int:
    """Return one past the last unit so that the text from unit `first` on is within the limit; at least one unit."""
    last, step = first + 1, 1
    while last + step <= len(units) and budget(text[units[first][0] : units[last + step - 1][1]]) <= limit:
        last += step
        step *= 2
    while step > 1:
        step //= 2
        if last + step <= len(units) and budget(text[units[first][0] : units[last + step - 1][1]]) <= limit:
            last += step
    return last


def _piece(document: Document, index: int, start: int, end: int) -> Chunk:
    """Cut `document.text[start:end]` out, with the entities and facts that lie in it."""
    whole = Alignment.identity(document.text) if document.raw is None else document.raw
    inside = [number for number, (left, right) in enumerate(document.sentences) if left < end and right > start]
    shift = inside[0]
    spans = tuple(
        (max(left, start) - start, min(right, end) - start) for left, right in (document.sentences[i] for i in inside)
    )
    places: dict[int, int] = {}
    entities: list[Entity] = []
    for number, entity in enumerate(document.entities):
        mentions = tuple(
            replace(
                mention,
                start=mention.start - start,
                end=mention.end - start,
                sentence=None if mention.sentence is None else mention.sentence - shift,
            )
            for mention in entity.mentions
            if start <= mention.start and mention.end <= end
        )
        if mentions:
            places[number] = len(entities)
            entities.append(Entity(entity.id, entity.type, mentions))
    facts = tuple(
        Fact(
            places[fact.head],
            places[fact.tail],
            fact.relation,
            fact.pid,
            tuple(number - shift for number in fact.evidence if number in inside),
        )
        for fact in document.facts
        if fact.head in places and fact.tail in places
    )
    piece = replace(
        document,
        text=document.text[start:end],
        sentences=spans,
        entities=tuple(entities),
        facts=facts,
        raw=whole.slice(start, end),
    )
    return Chunk(index, start, end, shift, piece)


def _joined(first: Triple, second: Triple) -> Triple:
    source = first.source or second.source
    if first.source is not None and second.source is not None:
        source = replace(first.source, chunks=tuple(sorted({*first.source.chunks, *second.source.chunks})))
    return replace(
        first,
        head=_all_mentions(first.head, second.head),
        tail=_all_mentions(first.tail, second.tail),
        score=_highest(first.score, second.score),
        score_relation=_highest(first.score_relation, second.score_relation),
        score_head=_highest(first.score_head, second.score_head),
        evidence=tuple(sorted({*first.evidence, *second.evidence})),
        source=source,
    )


def _highest(first: float | None, second: float | None) -> float | None:
    known = [score for score in (first, second) if score is not None]
    return max(known, default=None)


def _all_mentions(first: Argument, second: Argument) -> Argument:
    spans = {(span.start, span.end): span for span in (*first.mentions, *second.mentions)}
    mentions = tuple(spans[key] for key in sorted(spans))
    own = first.own or second.own
    return replace(first, mentions=mentions, place=None if own in mentions[:1] else own)
