"""What is asked of a document beside its text, and what comes out of it. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.inference.parsing import Dropped, Mode, Parsed
from domains.relation_extraction.model.calls import Call, Generation
from domains.relation_extraction.model.protocol import Layout
from suite.tables import counted

Plan = Mapping[str, Sequence[str] | None]
"""Relations to ask about in a document, each with its heads; None: the heads are asked for."""


@dataclass(frozen=True)
class PipelineOptions:
    """How documents are asked and answers read.

    Attributes:
        mode: `lenient`, or `strict` for AutoRE's own parsing.
        layout: of the adapters; AutoRE's routine for a single one puts the queried head into every triple.
        relations: ask about these only (names, aliases, property ids) and skip the relation step.
        heads: ask about these only and skip the subject step.
        plan: relations and heads for each document, before `relations` and `heads`; gold ones test one step alone.
        max_relations, max_heads, max_triples: the most that one call may give; the rest is dropped with a notice.
            By default 64 triples of one relation, and 1,024 where a call asks for those of several.
        inverses: whether each found relation brings its inverse along; default: as the protocol's authors did.
        keep_other_relations: keep triples of another relation than the queried one (strict always does).
        replace_head: put the queried head into every triple; default: in strict mode with a single adapter.
        max_retries: how often an answer without a single good line is asked for again.
        stop_after: the last step, for tests of one step alone; default: the fact step.
        group: documents whose calls go to the engine together.
    """

    mode: Mode = "lenient"
    layout: Layout = "three"
    relations: Sequence[str] | None = None
    heads: Sequence[str] | None = None
    plan: Callable[[Document], Plan] | None = None
    max_relations: int = 40
    max_heads: int = 64
    max_triples: int | None = None
    inverses: bool | None = None
    keep_other_relations: bool = False
    replace_head: bool | None = None
    max_retries: int = 0
    stop_after: Literal["relation", "subject"] | None = None
    group: int = 16


@dataclass(frozen=True)
class Found:
    """A triple as strings of the document's text, with the scores of the steps that led to it (see `Triple.score`)."""

    head: str
    relation: str
    tail: str
    score: float | None = None
    score_relation: float | None = None
    score_head: float | None = None
    chunks: tuple[int, ...] = (0,)

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.head, self.relation, self.tail)


@dataclass(frozen=True)
class Answered:
    """One call, what the model wrote, and what was read from it."""

    call: Call
    generation: Generation
    parsed: Parsed


@dataclass(frozen=True)
class Extraction:
    """What came out of one document.

    Attributes:
        triples: distinct, in the order of the calls.
        relations: those asked about; `heads`: per relation those asked about.
        answers: every call with its generation, in order: the trace, and what AutoRE's scorer counts.
        notices: what the user should know, one line each.
    """

    document: Document
    triples: tuple[Found, ...]
    relations: tuple[str, ...] = ()
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: tuple[Dropped, ...] = ()
    answers: tuple[Answered, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(answer.call for answer in self.answers)

    @property
    def generations(self) -> tuple[Generation, ...]:
        return tuple(answer.generation for answer in self.answers)

    @property
    def facts_by_call(self) -> tuple[tuple[tuple[str, str, str], ...], ...]:
        """The triples of each fact call, in the order of the calls."""
        return tuple(answer.parsed.items for answer in self.answers if answer.call.step == "fact")

    def summary(self) -> str:
        """One line for people."""
        heads = sum(map(len, self.heads.values()))
        return (
            f"{self.document.id}: {counted(len(self.relations), 'relation')}, {counted(heads, 'head')}, "
            f"{counted(len(self.triples), 'triple')}, {counted(len(self.dropped), 'line')} dropped, "
            f"{counted(len(self.answers), 'call')}"
        )
