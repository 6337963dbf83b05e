"""PubTator files (CHR, BC5CDR) and the 17-column files of CDR."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from domains.relation_extraction.documents import Document, Entity, Fact, Mention, check_text, joined
from domains.relation_extraction.readers.fields import relation_of
from domains.relation_extraction.schema import Schema
from domains.relation_extraction.sentences import split_sentences
from suite.errors import InputError

_TEXT_LINE = re.compile(r"([^|\t]+)\|([ta])\|(.*)")
_CDR_LABEL = re.compile(r"\d+:(\w+):\d+")
_CDR_COLUMNS = 17

Line = tuple[int, str]


# --- PubTator ---------------------------------------------------------------------------------------------------------


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
        if len(columns) >= 6:
            mention = _pubtator_mention(columns, text, where)
            mentions.setdefault(columns[5], []).append(mention)
            types.setdefault(columns[5], columns[4])
        elif len(columns) == 4:
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


# --- CDR --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CdrRecord:
    """One line of a CDR file.

    Attributes:
        sentences: tokens of each sentence.
        document: its text, entities (identifier as `id`) and, as facts, the positive pairs.
        positives, negatives: pairs of identifiers labelled with and without the relation.
    """

    pmid: str
    sentences: tuple[tuple[str, ...], ...]
    document: Document
    positives: tuple[tuple[str, str], ...]
    negatives: tuple[tuple[str, str], ...]


def parse_cdr(line: str, where: str, schema: Schema | None = None) -> CdrRecord:
    """Parse one line: PMID, sentences joined by `|`, then blocks of 17 columns, one for each candidate pair.

    `|` parts sentences in column 2 and mention names inside a block; starts and ends are token indices of the document.

    Raises:
        InputError: the columns are not a multiple of 17, or a block is malformed.
    """
    columns = line.rstrip("\r\n").split("\t")
    if len(columns) < 2 or (len(columns) - 2) % _CDR_COLUMNS:
        raise InputError(
            f"{where}: {max(len(columns) - 2, 0)} columns after the text, not a multiple of {_CDR_COLUMNS}; "
            "each candidate pair has 17"
        )
    sentences = [sentence.split(" ") for sentence in columns[1].split("|")]
    text, starts = joined(sentences)
    check_text(text, where)
    layout = _Tokens(text, sentences, starts)
    entities: dict[str, Entity] = {}
    pairs: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    relation = ""
    for offset in range(2, len(columns), _CDR_COLUMNS):
        block = columns[offset : offset + _CDR_COLUMNS]
        place = f"{where} pair {(offset - 2) // _CDR_COLUMNS + 1}"
        label = _CDR_LABEL.fullmatch(block[0])
        if label is None:
            raise InputError(f"{place}: label {block[0][:40]!r} is not like `1:CID:2` or `1:NR:2`; correct it")
        for argument in (block[5:11], block[11:17]):
            entities.setdefault(argument[0], layout.entity(argument, place))
        positive = label[1] != "NR"
        relation = label[1] if positive else relation
        pairs[positive].append((block[5], block[11]))
    order = {identifier: number for number, identifier in enumerate(entities)}
    facts = []
    for head, tail in pairs[True]:
        facts.append(Fact(order[head], order[tail], *relation_of(relation, schema, where)))
    spans = tuple((row[0], row[-1] - 1) for row in starts)
    document = Document(columns[0], text, spans, tuple(entities.values()), tuple(dict.fromkeys(facts)), tokenized=True)
    tokens = tuple(tuple(sentence) for sentence in sentences)
    return CdrRecord(columns[0], tokens, document, tuple(pairs[True]), tuple(pairs[False]))


class _Tokens:
    """Where the tokens of a CDR document stand, by their document-wide index."""

    def __init__(self, text: str, sentences: list[list[str]], starts: list[list[int]]) -> None:
        self._text = text
        self._places = [
            (starts[number][place], starts[number][place] + len(token), number)
            for number, sentence in enumerate(sentences)
            for place, token in enumerate(sentence)
        ]

    def entity(self, columns: list[str], where: str) -> Entity:
        """Make the entity of six columns: id, names, type, starts, ends, sentence ids."""
        identifier, _, kind, *numbers = columns
        try:
            starts, ends, _ = ([int(number) for number in column.split(":")] for column in numbers)
        except ValueError as error:
            raise InputError(f"{where}: positions of {identifier} must be whole numbers joined by `:`") from error
        if len(starts) != len(ends):
            raise InputError(f"{where}: {identifier} has {len(starts)} starts but {len(ends)} ends; correct it")
        mentions = []
        for start, end in zip(starts, ends, strict=True):
            if not 0 <= start < end <= len(self._places):
                raise InputError(
                    f"{where}: tokens [{start}, {end}) of {identifier} are out of range, the document has "
                    f"{len(self._places)}; correct it"
                )
            left, right = self._places[start][0], self._places[end - 1][1]
            mentions.append(Mention(left, right, self._text[left:right], self._places[start][2]))
        return Entity(identifier, kind, tuple(mentions))
