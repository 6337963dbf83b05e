"""What documents would cost, told before anything is loaded: a dry run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from domains.relation_extraction.inference.chunks import Chunk
from domains.relation_extraction.inference.loaded import LoadedExtractor
from domains.relation_extraction.model.calls import Step
from domains.relation_extraction.model.protocol import NAMES_A_PROMPT
from domains.relation_extraction.model.wording import Wording
from domains.relation_extraction.types import ExtractionQuery
from suite.generation.chat import encode_text
from suite.generation.memory import gigabytes

# A document of Re-DocRED has about 8 sentences and 10 relations with 3 heads each; a longer one has more.
_SENTENCES, _RELATIONS, _HEADS = 8, 10, 3


def expected_calls(sentences: int, wording: Wording, query: ExtractionQuery) -> dict[Step, int]:
    """How many calls of each step a passage of so many sentences may take."""
    protocol, share = wording.protocol, sentences / _SENTENCES
    names = len(wording.schema.names)
    if query.relations is not None:
        relations = len(query.relations)
    elif "relation" in protocol.steps:
        relations = min(ceil(_RELATIONS * share), names, query.max_relations)
    else:
        relations = names
    heads = min(max(1, round(_HEADS * share)), query.max_heads) if query.heads is None else len(query.heads)
    facts = {
        "document": 1,
        "relations": ceil(relations / NAMES_A_PROMPT),
        "relation": relations,
        "head": relations * heads,
    }
    calls: dict[Step, int] = {"fact": facts[protocol.scope]}
    if "relation" in protocol.steps and query.relations is None:
        calls["relation"] = 1
    if "subject" in protocol.steps and query.heads is None:
        calls["subject"] = relations
    # An analysis is a call of its own before each answer.
    return {step: number * (2 if protocol.analysing else 1) for step, number in calls.items()}


def plan(
    documents: Sequence[tuple[str, str, Sequence[Chunk]]],
    extractor: LoadedExtractor,
    wording: Wording,
    query: ExtractionQuery,
    *,
    overhead: int,
    together: int,
) -> tuple[Mapping[str, Any], ...]:
    """One row a document.

    Args:
        documents: id, text and chunks of each.
        overhead: tokens of a prompt beside its passage.
        together: documents whose calls share batches.

    Returns:
        `document`, `tokens`, `chunks`, the `calls` to be expected, and the `memory` that base, adapters and the cache
        of one batch take at most, every answer as long as it may be (nothing of it where a server answers).
    """
    expected = [
        [expected_calls(len(piece.document.sentences), wording, query) for piece in chunks]
        for _, _, chunks in documents
    ]
    counts = [sum(sum(calls.values()) for calls in each) for each in expected]
    widest = [sum(max(calls.values()) for calls in each) for each in expected]
    rows = min(extractor.rows(query), sum(sorted(widest, reverse=True)[:together]))
    estimate = None if extractor.server else extractor.estimate()
    longest, answer = extractor.window(query)
    planned = []
    for (name, text, chunks), calls in zip(documents, counts, strict=True):
        passage = max(len(encode_text(wording.tokenizer, piece.document.text)) for piece in chunks)
        tokens = len(encode_text(wording.tokenizer, text))
        row: dict[str, Any] = {"document": name, "tokens": tokens, "chunks": len(chunks), "calls": calls}
        if estimate is not None:
            row["memory"] = gigabytes(estimate.total(min(passage + overhead, longest) + answer, rows))
        planned.append(row)
    return tuple(planned)
