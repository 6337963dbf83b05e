"""Training samples: which calls a labelled document answers, and with what (AutoRE, spec section 5.2).

AutoRE's own lists come out of Python sets and so change from run to run; here everything is ordered by first occurrence
in the text, and shuffles are seeded by the document, so that any part of a data set gives the same samples.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from math import factorial
from typing import Any, Literal

from domains.relation_extraction.data.documents import Document
from domains.relation_extraction.data.refinement import alias_groups, alias_triples, refine
from domains.relation_extraction.model.calls import Call, Step
from domains.relation_extraction.model.protocol import Item, Layout, Protocol
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

LabelledTriple = tuple[str, str, str]
Split = Literal["train", "eval"]

# AutoRE's three-adapter training set repeats a relation list in up to two other orders, a head list in one.
_OFFICIAL_SHUFFLES = 2


@dataclass(frozen=True)
class Sample:
    """One call with its right answer.

    Attributes:
        instruction: the whole prompt, `protocol.prompt(call)`.
        answer: what the model shall say.
        adapter: name of the adapter that learns it.
        document: id of the document it comes from.
        id: `identity_<n>`, as LLaMA-Factory's data sets number their entries.
    """

    call: Call
    instruction: str
    answer: str
    adapter: str
    document: str
    id: str

    def to_dict(self) -> dict[str, Any]:
        """Return the sample in the alpaca layout that LLaMA-Factory reads."""
        return {"id": self.id, "instruction": self.instruction, "input": "", "output": self.answer, "history": []}


def build_samples(
    documents: Iterable[Document],
    protocol: Protocol,
    schema: Schema,
    *,
    layout: Layout = "three",
    split: Split = "train",
    seed: int = 42,
    shuffles: int | None = None,
    negatives: float = 0.0,
    official_duplicates: bool = False,
) -> Iterator[Sample]:
    """Yield the samples of `documents`, one document at a time; documents without facts give none.

    Args:
        schema: gives the descriptions, and the absent relations of negative samples.
        layout: `three` adapters, one a step, or a `single` one.
        split: of `eval` there are neither shuffles nor negatives.
        shuffles: in how many further orders a relation list is repeated (as far as it has as many); a head list is
            repeated once less. None: as the official data has it, 2 for three adapters and 0 for one.
        negatives: how many absent relations are asked about for each present one; their answer is the protocol's empty
            marker. Above 0 documents without facts are used too.
        official_duplicates: whether triples that two entities with one name share are repeated where AutoRE repeats
            them: in answers about a whole document and in the fact answers of three adapters.

    Raises:
        InputError: the protocol cannot be trained from labels alone or has no empty answer, `negatives` or `shuffles`
            is below 0, or a fact's relation is not in the schema.
    """
    _check(protocol, shuffles, negatives)
    train = split == "train"
    if shuffles is None:
        shuffles = _OFFICIAL_SHUFFLES if layout == "three" else 0
    numbers = count()
    for document in documents:
        labels = _Labels(refine(document) or document, schema, official_duplicates)
        if not labels.triples and not (train and negatives):
            continue
        # Seeded by the document: its samples do not depend on what else is in the data set.
        generator = random.Random(f"{seed}:{document.id}")
        asked = _calls(labels, protocol, layout, generator, shuffles if train else 0, negatives if train else 0.0)
        for call, items in asked:
            yield Sample(
                call=call,
                instruction=protocol.prompt(call),
                answer=protocol.answer(call.step, items),
                adapter=protocol.adapter(call.step, layout),
                document=document.id,
                id=f"identity_{next(numbers)}",
            )


class _Labels:
    """What a document's labels say, as strings ordered by first occurrence in its text."""

    def __init__(self, document: Document, schema: Schema, duplicates: bool) -> None:
        self.text = document.text
        self.schema = schema
        self.duplicates = duplicates
        place: dict[str, int] = {}
        for entity in document.entities:
            for mention in entity.mentions:
                place[mention.text] = min(mention.start, place.get(mention.text, mention.start))
        self.triples: list[LabelledTriple] = sorted(
            (
                triple
                for triple in alias_triples(alias_groups(document), deduplicate=False)
                # Answers are lines: a name that is broken over two of them cannot be given.
                if "\n" not in triple[0] + triple[2]
            ),
            key=lambda triple: (place[triple[0]], place[triple[2]]),
        )
        self.relations: list[str] = list(dict.fromkeys(relation for _, relation, _ in self.triples))
        for name in self.relations:
            if name not in schema:
                raise InputError(
                    f'document "{document.id}": relation "{name}" is not in schema {schema.name}; '
                    "choose the schema that the documents were labelled with"
                )

    def heads(self, relation: str) -> list[str]:
        return list(dict.fromkeys(head for head, name, _ in self.triples if name == relation))

    def facts(self, relation: str | None = None, head: str | None = None, *, duplicates: bool) -> list[LabelledTriple]:
        found = [
            triple
            for triple in self.triples
            if (relation is None or triple[1] == relation) and (head is None or triple[0] == head)
        ]
        return found if duplicates else list(dict.fromkeys(found))

    def absent(self, amount: float, generator: random.Random) -> list[str]:
        """Draw names that no fact has: `amount` for each name that some fact has, at least as if there were one."""
        others = [name for name in self.schema.names if name not in self.relations]
        wanted = amount * max(len(self.relations), 1)
        number = int(wanted) + (generator.random() < wanted % 1)
        return generator.sample(others, min(number, len(others)))


def _calls(
    labels: _Labels,
    protocol: Protocol,
    layout: Layout,
    generator: random.Random,
    shuffles: int,
    negatives: float,
) -> Iterator[tuple[Call, list[Item]]]:
    """Yield each call on the document with the items of its answer, in the order of the steps."""
    text, scope = labels.text, protocol.scope
    whole = labels.duplicates

    def call(step: Step, relation: str | None = None, head: str | None = None) -> Call:
        description = labels.schema[relation].description if relation and protocol.described else None
        return Call(step, text, relation, description or None, head)

    if "relation" in protocol.steps:
        for order in _orders(labels.relations, shuffles, generator):
            yield call("relation"), list(order)
    if scope in ("document", "relations"):
        if labels.relations or scope == "document":
            relations = tuple(labels.relations) if scope == "relations" else ()
            yield Call("fact", text, relations=relations), list(labels.facts(duplicates=whole))
        return
    for relation in labels.relations:
        if scope == "relation":
            yield call("fact", relation), list(labels.facts(relation, duplicates=False))
            continue
        heads = labels.heads(relation)
        for order in _orders(heads, shuffles - 1, generator):
            yield call("subject", relation), list(order)
        for head in heads:
            repeated = whole and layout == "three"
            yield call("fact", relation, head), list(labels.facts(relation, head, duplicates=repeated))
    for relation in labels.absent(negatives, generator) if negatives else ():
        yield call("fact" if scope == "relation" else "subject", relation), []


def _orders(names: list[str], shuffles: int, generator: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield `names` and up to `shuffles` further orders of them, all different."""
    seen = {tuple(names): None}
    possible = factorial(min(len(names), 10))
    while len(seen) < min(1 + max(shuffles, 0), possible):
        seen[tuple(generator.sample(names, len(names)))] = None
    yield from seen


def _check(protocol: Protocol, shuffles: int | None, negatives: float) -> None:
    if protocol.analysing or protocol.version == "zero-shot":
        why = "needs analyses that labels do not hold" if protocol.analysing else "is for models that are not tuned"
        raise InputError(f"protocol {protocol.id} {why}: no samples can be built; choose another protocol")
    for name, value in (("negatives", negatives), ("shuffles", shuffles or 0)):
        if not 0 <= value < math.inf:
            raise InputError(f"{name} {value} must be 0 or more")
    if negatives and protocol.empty is None:
        raise InputError(f"protocol {protocol.id} has no empty answer for negatives; use 0, or a protocol of suite-v1")
