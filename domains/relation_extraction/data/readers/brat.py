"""brat's stand-off annotation: a text and, beside it, an `.ann` file with its entities and relations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from domains.relation_extraction.data.documents import Document, Entity, Fact, Mention, check_text
from domains.relation_extraction.data.readers.fields import relation_of
from domains.relation_extraction.data.readers.opened import Opened
from domains.relation_extraction.data.sentences import split_sentences
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

_ENTITY = re.compile(r"(T\S+)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t(.*)")
_RELATION = re.compile(r"(R\S+)\t(\S+) \S+?:(T\S+) \S+?:(T\S+)\s*")
_NORMALISED = re.compile(r"N\S+\t\S+ (T\S+) (\S+)(\t.*)?")
_OTHER = ("E", "A", "M", "#", "*", "N")
"""Events, attributes, notes: nothing that relations are read from."""


@dataclass(frozen=True)
class _Line:
    number: int
    text: str


def is_brat(path: Path | None) -> bool:
    """Whether a file is one half of a pair of text and annotation."""
    return path is not None and (
        path.suffix == ".ann" or (path.suffix == ".txt" and path.with_suffix(".ann").is_file())
    )


def brat_document(file: Opened, schema: Schema | None, *, labels: bool = True) -> Document:
    """Make a document of a pair, of which `file` is either half.

    Entities are joined by normalisation, by equivalence, or by having one name. A mention of several pieces is all that
    lies between its first and last. Events, attributes and notes are not read.

    Args:
        labels: whether the annotation counts, or the text alone.

    Raises:
        InputError: a half is missing, a line is malformed, or an annotation is not what the text says at its place.
    """
    assert file.path is not None
    text = file.beside(".txt").text()
    check_text(text, file.name)
    sentences = tuple(split_sentences(text))
    if not labels:
        return Document(file.stem, text, sentences)
    annotation = file.beside(".ann")
    lines = [_Line(number, line) for number, line in annotation.lines() if line.strip()]
    mentions, types = _mentions(lines, text, annotation.name)
    keys = _keys(lines, mentions)
    entities = {
        key: Entity(key, types[min(own)], tuple(mentions[one] for one in own))
        for key in dict.fromkeys(keys.values())
        for own in [[one for one, its in keys.items() if its == key]]
    }
    order = {key: number for number, key in enumerate(entities)}
    facts = []
    for line in lines:
        match = _RELATION.fullmatch(line.text)
        if match is None:
            continue
        where = f"{annotation.name} line {line.number}"
        for end in match.group(3, 4):
            if end not in keys:
                raise InputError(f"{where}: there is no entity {end}; correct the line")
        head, tail = (order[keys[end]] for end in match.group(3, 4))
        if head != tail:
            facts.append(Fact(head, tail, *_relation(match[2], schema, where)))
    return Document(file.stem, text, sentences, tuple(entities.values()), tuple(dict.fromkeys(facts)))


def _mentions(lines: list[_Line], text: str, name: str) -> tuple[dict[str, Mention], dict[str, str]]:
    """The mention and the type of each entity line."""
    mentions, types = {}, {}
    for line in lines:
        where = f"{name} line {line.number}"
        match = _ENTITY.fullmatch(line.text.rstrip("\r"))
        if match is None:
            if not line.text.startswith(("R", *_OTHER)):
                raise InputError(f"{where}: expected an entity, `T1<tab>Type 0 3<tab>text`; correct the line")
            continue
        pieces = [tuple(map(int, piece.split())) for piece in match[3].split(";")]
        start, end = pieces[0][0], pieces[-1][1]
        said = " ".join(text[first:last] for first, last in pieces)
        if not 0 <= start < end <= len(text) or said.split() != match[4].split():
            raise InputError(
                f"{where}: the text at [{start}, {end}) is {text[start:end]!r}, not {match[4]!r} as the line says; "
                "offsets count the characters of the .txt file, line ends too"
            )
        mentions[match[1]] = Mention(start, end, text[start:end])
        types[match[1]] = match[2]
    return mentions, types


def _keys(lines: list[_Line], mentions: dict[str, Mention]) -> dict[str, str]:
    """For each entity line what it is a mention of."""
    keys = {one: " ".join(mention.text.casefold().split()) for one, mention in mentions.items()}
    for line in lines:
        match = _NORMALISED.fullmatch(line.text.rstrip("\r"))
        if match is not None and match[1] in keys:
            keys[match[1]] = match[2]
    for line in lines:
        if line.text.startswith("*\tEquiv "):
            same = [one for one in line.text.split()[2:] if one in keys]
            joined = {keys[one] for one in same}
            keys = {one: keys[same[0]] if key in joined else key for one, key in keys.items()}
    return keys


def _relation(kind: str, schema: Schema | None, where: str) -> tuple[str, str | None]:
    """brat's types have no blanks: `place_of_birth` is the schema's "place of birth"."""
    known = Schema.load("redocred") if schema is None else schema
    spelled = kind if known.find(kind) else kind.replace("_", " ")
    return relation_of(spelled if known.find(spelled) else kind, schema, where)
