"""From documents to triples through an engine: all relation calls, then all subject calls, then all fact calls.

The calls of a step go to the engine together, for a group of documents at a time, so that an engine can batch them and
share prefixes. No model and no torch here: an engine is anything that answers calls, `MockEngine` for one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from domains.relation_extraction.inference.extraction import Answered, Extraction, Found, PipelineOptions
from domains.relation_extraction.inference.parsing import (
    Dropped,
    Parsed,
    parse_facts,
    parse_heads,
    parse_relations,
)
from domains.relation_extraction.model.calls import Call, Generation, Step
from domains.relation_extraction.model.protocol import NAMES_A_PROMPT, OFFICIAL, Protocol
from domains.relation_extraction.model.schema import Schema

if TYPE_CHECKING:
    from domains.relation_extraction.data.documents import Document
    from domains.relation_extraction.inference.engine import Answering


def span_score(generation: Generation, span: tuple[int, int]) -> float | None:
    """Return exp(mean log-probability) of the tokens that write `generation.text[start:end]`.

    A token counts when at least one of its characters lies in the span.

    Returns:
        a number in (0, 1], or None where the engine gave no log-probabilities.
    """
    start, end = span
    begins = (0, *generation.offsets[:-1])
    own = [
        logprob
        for begin, stop, logprob in zip(begins, generation.offsets, generation.logprobs, strict=False)
        if begin < end and stop > start and stop > begin
    ]
    return math.exp(sum(own) / len(own)) if own else None


class MockEngine:
    """An engine without a model: answers come from a function of the call."""

    def __init__(self, answer: Callable[[Call], str | Generation]) -> None:
        self.answer = answer
        self.calls = 0

    def generate(self, calls: Sequence[Call], *, constraint: Any = None, attempt: int = 0) -> list[Generation]:
        self.calls += len(calls)
        answers = map(self.answer, calls)
        return [answer if isinstance(answer, Generation) else Generation(answer) for answer in answers]


def extract(
    documents: Iterable[Document],
    engine: Answering,
    protocol: Protocol,
    schema: Schema,
    options: PipelineOptions | None = None,
    constraint: Any = None,
) -> Iterator[Extraction]:
    """Yield one extraction a document, in order.

    Args:
        documents: texts short enough for the model (see `documents.chunk`).
        constraint: passed on to the engine: what an answer to a call may be. Analyses are free.

    Raises:
        InputError: `options.relations` or the plan names a relation that `schema` lacks.
    """
    options = options or PipelineOptions()
    asking = _Asking(engine, protocol, schema, options, constraint)
    stream = iter(documents)
    while group := [_Progress(document) for document in islice(stream, options.group)]:
        asking.relations(group)
        if "subject" in protocol.steps and options.stop_after != "relation":
            asking.heads(group)
        if options.stop_after is None:
            asking.facts(group)
        for progress in group:
            yield progress.extraction()


class _Progress:
    """One document on its way through the steps."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.relations: dict[str, float | None] = {}
        self.heads: dict[str, dict[str, float | None]] = {}
        self.found: dict[tuple[str, str, str], Found] = {}
        self.answers: list[Answered] = []
        self.dropped: list[Dropped] = []
        self.notices: list[str] = []

    def take(self, what: str, answer: Answered, most: int) -> list[tuple[Any, float | None]]:
        """Record the answer; return its items with their scores, at most `most`."""
        parsed, place = answer.parsed, answer.call.relation
        if len(parsed.items) > most:
            where = f' of "{place}"' if place else ""
            self.notices.append(
                f"{self.document.id}: {len(parsed.items)} {what}{where}, the first {most} were kept (--max-{what})"
            )
            cut = tuple(Dropped(str(item), "limit") for item in parsed.items[most:])
            parsed = Parsed(parsed.items[:most], parsed.dropped + cut, parsed.spans[:most])
        self.answers.append(replace(answer, parsed=parsed))
        self.dropped.extend(parsed.dropped)
        scores = [span_score(answer.generation, span) for span in parsed.spans]
        return list(zip(parsed.items, scores, strict=True))

    def extraction(self) -> Extraction:
        heads = {relation: tuple(heads) for relation, heads in self.heads.items()}
        return Extraction(
            self.document,
            tuple(self.found.values()),
            tuple(self.relations),
            heads,
            tuple(self.dropped),
            tuple(self.answers),
            tuple(self.notices),
        )


@dataclass
class _Asking:
    """The three steps for a group of documents."""

    engine: Answering
    protocol: Protocol
    schema: Schema
    options: PipelineOptions
    constraint: Any

    def relations(self, group: Sequence[_Progress]) -> None:
        """Fill in the relations of each document: planned, given, or asked for."""
        asked = []
        for progress in group:
            given = self._given_relations(progress.document)
            if given is not None:
                progress.relations.update(dict.fromkeys(given))
            elif "relation" in self.protocol.steps:
                asked.append(progress)
            elif self.protocol.scope == "relations":
                progress.relations.update(dict.fromkeys(self.schema.names))
        calls = [Call("relation", progress.document.text) for progress in asked]
        for progress, answer in self._ask(asked, calls):
            for name, score in progress.take("relations", answer, self.options.max_relations):
                # Strict reading adds inverses that no inventory holds; they can never score and are not asked about.
                if name in self.schema:
                    progress.relations[name] = score

    def heads(self, group: Sequence[_Progress]) -> None:
        """Fill in the heads of each relation."""
        asked, calls = [], []
        for progress in group:
            plan = self.options.plan(progress.document) if self.options.plan else {}
            for name in progress.relations:
                given = self.options.heads if plan.get(name) is None else plan[name]
                if given is None:
                    asked.append(progress)
                    calls.append(self._call("subject", progress, name))
                else:
                    progress.heads[name] = dict.fromkeys(given)
        for progress, answer in self._ask(asked, calls):
            taken = progress.take("heads", answer, self.options.max_heads)
            progress.heads[answer.call.relation or ""] = dict(taken)
        for progress in group:
            progress.heads = {name: progress.heads.get(name, {}) for name in progress.relations}

    def facts(self, group: Sequence[_Progress]) -> None:
        """Collect the triples of each document."""
        asked, calls = [], []
        for progress in group:
            for call in self._fact_calls(progress):
                asked.append(progress)
                calls.append(call)
        most = self.options.max_triples
        if most is None:
            most = 64 if self.protocol.scope in ("relation", "head") else 1024
        for progress, answer in self._ask(asked, calls):
            for (head, relation, tail), score in progress.take("triples", answer, most):
                heads = progress.heads.get(relation, {})
                found = Found(head, relation, tail, score, progress.relations.get(relation), heads.get(head))
                known = progress.found.get(found.key)
                if known is None or (known.score or 0.0) < (score or 0.0):
                    progress.found[found.key] = found

    def _given_relations(self, document: Document) -> list[str] | None:
        given = self.options.plan(document) if self.options.plan else self.options.relations
        return None if given is None else [self.schema.require(name).name for name in given]

    def _fact_calls(self, progress: _Progress) -> Iterator[Call]:
        names, text = list(progress.relations), progress.document.text
        match self.protocol.scope:
            case "document":
                yield Call("fact", text)
            case "relations":
                for start in range(0, len(names), NAMES_A_PROMPT):
                    yield Call("fact", text, relations=tuple(names[start : start + NAMES_A_PROMPT]))
            case "relation":
                yield from (self._call("fact", progress, name) for name in names)
            case "head":
                for name in names:
                    yield from (self._call("fact", progress, name, head) for head in progress.heads[name])

    def _call(self, step: Step, progress: _Progress, relation: str, head: str | None = None) -> Call:
        description = self.schema[relation].description or None
        return Call(step, progress.document.text, relation, description, head)

    def _ask(self, asked: Sequence[_Progress], calls: list[Call]) -> Iterator[tuple[_Progress, Answered]]:
        """Have the calls of one step answered; yield each answer with the document it belongs to."""
        if not calls:
            return
        if self.protocol.analysing:
            analyses = self.engine.generate(calls)
            for number, (progress, analysis) in enumerate(zip(asked, analyses, strict=True)):
                progress.answers.append(Answered(calls[number], analysis, Parsed(())))
                calls[number] = replace(calls[number], analysis=analysis.text)
        generations = self.engine.generate(calls, constraint=self.constraint)
        answers = [
            Answered(call, generation, self._parse(call, generation, progress.document))
            for progress, call, generation in zip(asked, calls, generations, strict=True)
        ]
        for attempt in range(1, self.options.max_retries + 1):
            self._retry(asked, answers, attempt)
        yield from zip(asked, answers, strict=True)

    def _retry(self, asked: Sequence[_Progress], answers: list[Answered], attempt: int) -> None:
        failed = [number for number, answer in enumerate(answers) if answer.parsed.dropped and not answer.parsed.items]
        if not failed:
            return
        calls = [answers[number].call for number in failed]
        generations = self.engine.generate(calls, constraint=self.constraint, attempt=attempt)
        for number, call, generation in zip(failed, calls, generations, strict=True):
            progress = asked[number]
            progress.answers.append(answers[number])
            progress.dropped.extend(answers[number].parsed.dropped)
            answers[number] = Answered(call, generation, self._parse(call, generation, progress.document))

    def _parse(self, call: Call, generation: Generation, document: Document) -> Parsed:
        text, complete, mode = generation.text, generation.complete, self.options.mode
        if call.step == "relation":
            # AutoRE's routine for D_R_F lower-cases the names and adds no inverses; all others do the opposite.
            plain = self.protocol.scope == "relation"
            inverses = self.options.inverses
            if inverses is None:
                inverses = self.protocol.family == OFFICIAL and not plain
            fold = plain and mode == "strict"
            return parse_relations(
                text, self.schema, mode, complete, inverses=inverses, fold=fold, empty=self.protocol.empty
            )
        if call.step == "subject":
            return parse_heads(text, call.passage, mode, complete, empty=self.protocol.empty)
        replaces = self.options.replace_head
        if replaces is None:
            replaces = mode == "lenient" or self.options.layout == "single"
        parsed = parse_facts(
            text,
            call.passage,
            self.schema,
            mode,
            complete,
            subject=call.head if replaces else None,
            relation=call.relation,
            keep_other_relations=self.options.keep_other_relations,
            empty=self.protocol.empty,
        )
        return parsed if mode == "strict" else _typed(parsed, document, self.schema)


def _typed(parsed: Parsed, document: Document, schema: Schema) -> Parsed:
    """Drop the triples that the entity types known of the document forbid."""
    if not any(entity.type for entity in document.entities):
        return parsed
    types: dict[str, set[str | None]] = {}
    for entity in document.entities:
        for name in entity.names:
            types.setdefault(name, set()).add(entity.type)
    kept, dropped = [], list(parsed.dropped)
    for item, span in zip(parsed.items, parsed.spans, strict=True):
        head, relation, tail = item
        pairs = ((one, other) for one in types.get(head, {None}) for other in types.get(tail, {None}))
        if any(schema[relation].allows(one, other) for one, other in pairs):
            kept.append((item, span))
        else:
            dropped.append(Dropped(repr(list(item)), "wrong_type"))
    return Parsed(tuple(item for item, _ in kept), tuple(dropped), tuple(span for _, span in kept))
