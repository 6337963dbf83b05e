"""The 17-column files of CDR, the chemical-disease relation corpus: one tokenised abstract a line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from domains.relation_extraction.data.documents import Document, Entity, Fact, Mention, check_text, joined
from domains.relation_extraction.data.readers.fields import relation_of
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

_LABEL = re.compile(r"\d+:(\w+):\d+")
_COLUMNS = 17


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
    if len(columns) < 2 or (len(columns) - 2) % _COLUMNS:
        raise InputError(
            f"{where}: {max(len(columns) - 2, 0)} columns after the text, not a multiple of {_COLUMNS}; "
            "each candidate pair has 17"
        )
    sentences = [sentence.split(" ") for sentence in columns[1].split("|")]
    text, starts = joined(sentences)
    check_text(text, where)
    layout = _Tokens(text, sentences, starts)
    entities: dict[str, Entity] = {}
    pairs: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    relation = ""
    for offset in range(2, len(columns), _COLUMNS):
        block = columns[offset : offset + _COLUMNS]
        place = f"{where} pair {(offset - 2) // _COLUMNS + 1}"
        label = _LABEL.fullmatch(block[0])
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


def cdr_text(line: str) -> str:
    """A line without its candidate pairs."""
    return "\t".join(line.rstrip("\r\n").split("\t")[:2])


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
