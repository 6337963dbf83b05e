"""Gold documents as AutoRE refines them: mention names repaired, facts as groups of alias triples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from domains.relation_extraction.data.documents import Document, Entity


@dataclass(frozen=True)
class Group:
    """One labelled fact as strings: every alias of its head with every alias of its tail.

    Attributes:
        triples: `(head, relation, tail)`, distinct, by first occurrence of head, then tail.
        fact: index of the fact in `Document.facts`.
    """

    relation: str
    triples: tuple[tuple[str, str, str], ...]
    fact: int = 0

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(head for head, _, _ in self.triples))

    @property
    def tails(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tail for _, _, tail in self.triples))


def refine(document: Document) -> Document | None:
    """Repair mention names as AutoRE does (spec section 5.2, step 1), or return None where nothing is labelled.

    Only entities that take part in a fact are touched: a mention whose name is nowhere in the text gets the words at
    its place instead. After this every alias of every fact occurs in the text.
    """
    if not document.facts:
        return None
    used = {index for fact in document.facts for index in (fact.head, fact.tail)}
    entities = (
        _repaired(entity, document.text) if index in used else entity for index, entity in enumerate(document.entities)
    )
    return replace(document, entities=tuple(entities))


def _repaired(entity: Entity, text: str) -> Entity:
    mentions = (
        mention if mention.text in text else replace(mention, text=text[mention.start : mention.end])
        for mention in entity.mentions
    )
    return replace(entity, mentions=tuple(mentions))


def alias_groups(document: Document) -> list[Group]:
    """Return one group a fact, in the order of the facts (spec section 5.2, step 2)."""
    return [
        Group(
            fact.relation,
            tuple(
                (head, fact.relation, tail)
                for head in document.entities[fact.head].names
                for tail in document.entities[fact.tail].names
            ),
            index,
        )
        for index, fact in enumerate(document.facts)
    ]


def alias_triples(groups: Iterable[Group], deduplicate: bool = True) -> list[tuple[str, str, str]]:
    """Return the triples of all groups in order.

    Args:
        deduplicate: whether a triple that two groups share (two entities with one name) is given once. AutoRE meant to
            but does not: it compares tuples with lists.
    """
    triples = [triple for group in groups for triple in group.triples]
    return list(dict.fromkeys(triples)) if deduplicate else triples
