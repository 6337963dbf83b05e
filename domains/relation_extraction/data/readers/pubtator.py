"""PubTator files: CHR, BC5CDR and whatever else is annotated by character offsets and knowledge-base identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from domains.relation_extraction.data.documents import Document, Entity, Fact, Mention, check_text
from domains.relation_extraction.data.readers.fields import relation_of
from domains.relation_extraction.data.sentences import split_sentences
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

_TEXT_LINE = re.compile(r"([^|\t]+)\|([ta])\|(.*)")

_UNKNOWN = frozenset({"", "-", "-1", "None"})

Line = tuple[int, str]
"""The number and the text of a line."""


@dataclass(frozen=True)
class PubTatorRelation:
    """A relation line: `head` and `tail` are identifiers as the line has them, `line` its number."""

    relation: str
    head: str
    tail: str
    line: int = 0


@dataclass(frozen=True)
class PubTatorRecord:
    """One document of a PubTator file.

    Attributes:
        text: title, one blank, abstract; every offset counts in it.
        entities: by identifier (several knowledge-base identifiers joined by `|` are one), mentions in file order.
        relations: all relation lines, those of an entity with itself included.
    """

    pmid: str
    text: str
    entities: tuple[Entity, ...]
    relations: tuple[PubTatorRelation, ...]


def pubtator_blocks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Group the lines of a PubTator file by document: blank lines, or the next title, part them."""
    block: list[Line] = []
    for number, line in lines:
        title = _TEXT_LINE.fullmatch(line)
        if block and (not line.strip() or (title is not None and title[2] == "t")):
            yield block
            block = []
        if line.strip():
            block.append((number, line))
    if block:
        yield block


def parse_pubtator(block: list[Line], name: str) -> PubTatorRecord:
    """Parse the lines of one document of the file `name`.

    Raises:
        InputError: a line is malformed, or the text at a mention's offsets is not the mention; with the line's number.
    """
    parts = {"t": "", "a": ""}
    pmid = ""
    mentions: dict[str, list[Mention]] = {}
    types: dict[str, str] = {}
    relations = []
    text = ""
    for number, line in block:
        where = f"{name} line {number}"
        if match := _TEXT_LINE.fullmatch(line):
            pmid = pmid or match[1]
            parts[match[2]] = match[3]
            text = f"{parts['t']} {parts['a']}" if parts["a"] else parts["t"]
            continue
        columns = line.rstrip("\r").split("\t")
        if not pmid:
            raise InputError(f"{where}: expected `PMID|t|title` first; correct the line")
        if columns[0] != pmid:
            raise InputError(
                f"{where}: it belongs to {columns[0][:40]!r} but the document is {pmid}; part them by a blank line"
            )
        if _is_mention(columns):
            mention = _pubtator_mention(columns, text, where)
            identifier = (columns[5] if len(columns) > 5 else "").strip()
            if identifier in _UNKNOWN:  # no entry of the knowledge base: each name is a thing of its own
                identifier = f"{identifier or '-'}:{columns[3].casefold()}"
            mentions.setdefault(identifier, []).append(mention)
            types.setdefault(identifier, columns[4])
        elif len(columns) in (4, 5):  # the fifth, in BioRED, says whether the relation is new
            relations.append(PubTatorRelation(columns[1], columns[2], columns[3], number))
        else:
            raise InputError(f"{where}: {len(columns)} columns; a mention has 6 and a relation 4, parted by tabs")
    entities = tuple(Entity(key, types[key], tuple(found)) for key, found in mentions.items())
    return PubTatorRecord(pmid, text, entities, tuple(relations))


def pubtator_document(block: list[Line], name: str, schema: Schema | None = None) -> Document:
    """Make a document of the lines of one PubTator document; relations of an entity with itself are left out.

    Raises:
        InputError: as `parse_pubtator`; a relation names an identifier that no mention has.
    """
    record = parse_pubtator(block, name)
    check_text(record.text, f"{name} line {block[0][0]}")
    sentences = tuple(split_sentences(record.text))
    entities = tuple(
        Entity(entity.id, entity.type, tuple(_in_sentence(mention, sentences) for mention in entity.mentions))
        for entity in record.entities
    )
    places = {entity.id: place for place, entity in enumerate(entities)}
    for place, entity in enumerate(entities):
        for identifier in entity.id.split("|"):
            places.setdefault(identifier, place)
    facts = []
    for relation in record.relations:
        where = f"{name} line {relation.line}"
        for identifier in (relation.head, relation.tail):
            if identifier not in places:
                raise InputError(f"{where}: no mention has the identifier {identifier!r}; correct the relation line")
        head, tail = places[relation.head], places[relation.tail]
        if head != tail:
            facts.append(Fact(head, tail, *relation_of(relation.relation, schema, where)))
    return Document(record.pmid, record.text, sentences, entities, tuple(dict.fromkeys(facts)))


def without_relations(block: list[Line]) -> list[Line]:
    """The lines of a document but for its relations."""
    return [line for line in block if _TEXT_LINE.fullmatch(line[1]) or _is_mention(line[1].split("\t"))]


def without_labels(block: list[Line]) -> list[Line]:
    """The lines of a document that hold its text."""
    return [line for line in block if _TEXT_LINE.fullmatch(line[1])]


def _is_mention(columns: list[str]) -> bool:
    return len(columns) >= 6 or (len(columns) == 5 and columns[1].isdigit() and columns[2].isdigit())


def _pubtator_mention(columns: list[str], text: str, where: str) -> Mention:
    try:
        start, end = int(columns[1]), int(columns[2])
    except ValueError as error:
        raise InputError(f"{where}: offsets {columns[1]!r} and {columns[2]!r} must be whole numbers") from error
    if not 0 <= start < end <= len(text) or text[start:end] != columns[3]:
        raise InputError(
            f"{where}: the text at [{start}, {end}) is {text[max(start, 0) : end]!r} but the mention says "
            f"{columns[3]!r}; offsets count characters of title + one blank + abstract"
        )
    return Mention(start, end, columns[3])


def _in_sentence(mention: Mention, sentences: tuple[tuple[int, int], ...]) -> Mention:
    inside = next((number for number, (start, end) in enumerate(sentences) if start <= mention.start < end), None)
    return Mention(mention.start, mention.end, mention.text, inside)
