"""Gold documents: labelled, refined as AutoRE does it, and what gold answers give."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from domains.relation_extraction.data.documents import Document, pretokenize
from domains.relation_extraction.data.refinement import Group, alias_groups, refine
from domains.relation_extraction.data.sources import labelled_documents
from domains.relation_extraction.inference.extraction import Extraction, PipelineOptions, Plan
from domains.relation_extraction.inference.pipeline import MockEngine, extract
from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.model.protocol import Protocol
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

Component = Literal["relation", "subject", "facts"]

_EVERYTHING = sys.maxsize


@dataclass(frozen=True)
class Gold:
    """A labelled document and its facts as groups of alias triples; one without a label has none.

    Attributes:
        source: the document with the names of its file, before their repair; None: there was nothing to repair.
    """

    document: Document
    groups: tuple[Group, ...]
    source: Document | None = None

    @cached_property
    def blind(self) -> Document:
        """The document as a model may see it: its text alone."""
        return replace(self.document, entities=(), facts=())

    @property
    def relations(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(group.relation for group in self.groups))

    def heads(self, relation: str) -> tuple[str, ...]:
        names = (head for group in self.groups if group.relation == relation for head in group.heads)
        return tuple(dict.fromkeys(names))

    def triples(self, relation: str | None = None, head: str | None = None) -> list[tuple[str, str, str]]:
        """The distinct gold triples, of one relation or head if given."""
        found = dict.fromkeys(triple for group in self.groups for triple in group.triples)
        return [t for t in found if relation in (None, t[1]) and head in (None, t[0])]


def gold_documents(
    data: str, schema: Schema, *, shape: str = "none", format: str = "auto", encoding: str = "utf-8"
) -> list[Gold]:
    """Read labelled documents as AutoRE refines them.

    A document without a label has no groups: AutoRE's scores leave it out, in DocRED's what is found there is wrong.

    Args:
        data: a file, a part of one, or a split of the made world (see `sources.labelled_documents`).
        shape: how passages are given to the model (see `documents.pretokenize`).

    Raises:
        InputError: a document is malformed, two have one title, or none has a label.
    """
    read = labelled_documents(data, schema, format=format, encoding=encoding)
    return gold_of((pretokenize(document, shape) for document in read), f"data {data}")


def gold_of(documents: Iterable[Document], where: str) -> list[Gold]:
    """Refine labelled documents.

    Raises:
        InputError: none has a label.
    """
    gold = []
    for document in documents:
        refined = refine(document) or document
        gold.append(Gold(refined, tuple(alias_groups(refined)), document))
    if not any(one.groups for one in gold):
        raise InputError(f"{where}: no document has a label; give a labelled file")
    return gold


def default_schema(data: str) -> str:
    """The schema that `data` is labelled with where nothing else is said."""
    return "tiny" if data.startswith("tiny:") else "redocred"


def gold_plan(component: str) -> Callable[[Document], Plan]:
    """What the test of one step is asked: gold relations (`subject`), or gold relations with gold heads (`facts`)."""

    def plan(document: Document) -> Plan:
        gold = Gold(document, tuple(alias_groups(document)))
        return {name: gold.heads(name) if component == "facts" else None for name in gold.relations}

    return plan


def oracle(gold: Sequence[Gold], protocol: Protocol, schema: Schema) -> Iterator[Extraction]:
    """Yield what gold answers to every call give through AutoRE's own parser: the upper bound of a paradigm."""
    by_text = {one.document.text: one for one in gold}

    def answer(call: Call) -> str:
        one = by_text[call.passage]
        if call.step == "relation":
            return protocol.answer("relation", one.relations)
        if call.step == "subject":
            return protocol.answer("subject", one.heads(call.relation or ""))
        return protocol.answer("fact", one.triples(call.relation, call.head))

    # Many relations and triples are gold: the limits that guard against models do not apply.
    options = PipelineOptions(mode="strict", max_relations=_EVERYTHING, max_heads=_EVERYTHING, max_triples=_EVERYTHING)
    yield from extract((one.blind for one in gold), MockEngine(answer), protocol, schema, options)
