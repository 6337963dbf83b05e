"""The well-formed answers to a call, as automata over their bytes.

- relations: allowed names, one a line, none twice;
- heads: passage spans aligned to word boundaries, one a line, none twice;
- facts: `['head', 'relation', 'tail']` lines as Python writes them, head and relation as asked, the tail a passage
  span other than the head, no triple twice.

Imports no torch.
"""

from __future__ import annotations

from typing import Any

from domains.relation_extraction.model.calls import Call
from suite.generation.constraints import AnswerLines, Constraint, FixedText, OneOf, PassageSpan, span_index


def constraint_for(call: Call, schema: Any, *, empty: str | None = None, max_words: int = 20) -> Constraint:
    """Return the automaton of the well-formed answers to `call`.

    Args:
        schema: the relations that may be named (a `Schema`, or anything with `names`).
        empty: the answer that says "nothing found", where the protocol has one.
        max_words: longest span, in blank-separated words.
    """
    relations = call.relations or tuple(schema.names)
    if call.step == "relation":
        return AnswerLines([OneOf(relations, quoted=False)], empty=empty)
    spans = span_index(call.passage, max_words)
    if call.step == "subject":
        return AnswerLines([PassageSpan(spans, quoted=False)], empty=empty)
    head = FixedText(repr(call.head)) if call.head is not None else PassageSpan(spans, quoted=True)
    relation = FixedText(repr(call.relation)) if call.relation is not None else OneOf(relations, quoted=True)
    elements = [
        FixedText("["),
        head,
        FixedText(", "),
        relation,
        FixedText(", "),
        PassageSpan(spans, quoted=True),
        FixedText("]"),
    ]
    return AnswerLines(elements, empty=empty, distinct=True, first=call.head)
