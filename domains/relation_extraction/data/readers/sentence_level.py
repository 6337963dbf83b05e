"""The sentence-level corpora: one or a few labelled triples of strings a text.

FewRel, wiki80, wiki20m and SemEval-2010 task 8 are JSON lines with `token`; NYT10 with `text`; InstructUIE's folders
hold JSON arrays with `sentence`; T-REx holds documents with surface forms. Their common rules are AutoRE's (spec
section 5.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from domains.relation_extraction.data.documents import Document, Fact, check_text, joined, plain_document
from domains.relation_extraction.data.readers.fields import field, mapping, strings
from domains.relation_extraction.data.readers.named import NamedEntities
from domains.relation_extraction.data.sentences import split_sentences
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

_PRONOUNS = frozenset({"it", "he", "she", "they", "its", ""})
_NO_RELATION = frozenset({"NA", "Other", "no_relation"})
# How the sentence-level corpora spell relations that Wikidata names otherwise.
_SPELLINGS = {
    "children": "child",
    "cities of residence": "residence",
    "city of headquarters": "headquarters location",
    "company": "employer",
    "country capital": "capital",
    "country of capital": "capital",
    "education institution": "educated at",
    "ethnicity": "ethnic group",
    "founders": "founded by",
    "Located in": "located in the administrative territorial entity",
    "located on terrain feature": "located in/on physical feature",
    "nationality": "country of citizenship",
    "person of company": "employer",
    "place founded": "location of formation",
    "place lived": "residence",
    "subsidiaries": "subsidiary",
    "Work for": "employer",
}
_DIRECTED = re.compile(r"(?P<name>.+)\((?P<first>e[12]),(?P<second>e[12])\)")
_SEMEVAL_LINE = re.compile(r'(\d+)\t"?(.*?)"?\s*')
_SEMEVAL_TAG = re.compile(r"</?e[12]>")

Labelled = tuple[str, str, str]
"""(head, relation, tail) as strings."""


def sentence_document(record: Any, where: str, id: str, schema: Schema | None) -> Document | None:
    """Make a document of one FewRel, wiki80, wiki20m, SemEval, NYT10 or InstructUIE record, or None to skip it.

    Skipped, as AutoRE does: an argument that is a pronoun or not in the text, head equal to tail, no relation (NA,
    Other), and a relation that the schema does not have.

    Raises:
        InputError: the record is not of any of these formats.
    """
    record = mapping(record, where)
    if "token" in record:
        text, triples = _token_record(record, where)
    elif "sentence" in record:
        text, triples = _instruct_record(record, where)
    else:
        text, triples = _named_record(record, where)
    check_text(text, where)
    if not triples or any(not _usable(text, *triple) for triple in triples):
        return None
    return _sentence_document(id, text, triples, schema, tokenized="token" in record)


def sentence_text(record: Any, where: str, id: str) -> Document:
    """Make a document of the text alone of a record that `sentence_document` or `trex_document` reads.

    Raises:
        InputError: it has no text.
    """
    record = mapping(record, where)
    if "token" in record:
        text, _ = joined([strings(record["token"], f"{where}: `token`")])
    else:
        text = field(record, "sentence" if "sentence" in record else "text", str, where)
    return plain_document(text.strip(), id, where=where)


def trex_document(record: Any, where: str, id: str, schema: Schema | None) -> Document | None:
    """Make a document of one T-REx record (surface forms; the predicate's address ends in its property id).

    Raises:
        InputError: the record is not one of T-REx.
    """
    record = mapping(record, where)
    text = field(record, "text", str, where)
    check_text(text, where)
    triples = []
    for number, value in enumerate(field(record, "triples", list, where)):
        place = f"{where}: triple {number}"
        value = mapping(value, place)
        parts = [mapping(value.get(key), f"{place} `{key}`") for key in ("subject", "predicate", "object")]
        head, tail = (field(part, "surfaceform", str, place) for part in (parts[0], parts[2]))
        if head != tail and head in text and tail in text:
            triples.append((head, field(parts[1], "uri", str, place).rsplit("/", 1)[-1], tail))
    if not triples or any(not _usable(text, *triple) for triple in triples):
        return None
    return _sentence_document(id, text, triples, schema, tokenized=False)


def semeval_records(lines: Iterable[tuple[int, str]], name: str) -> Iterator[tuple[str, Any] | InputError]:
    """Yield the records of SemEval-2010 task 8's own text files in the shape that `sentence_document` reads.

    A sentence line `1<TAB>"The <e1>fire</e1> inside WTC was caused by exploding <e2>fuel</e2>."` is followed by a line
    with its relation and direction.
    """
    sentence: tuple[str, dict[str, Any]] | None = None
    for number, line in lines:
        where = f"{name} line {number}"
        if match := _SEMEVAL_LINE.fullmatch(line):
            if not all(match[2].count(tag) == 1 for tag in ("<e1>", "</e1>", "<e2>", "</e2>")):
                yield InputError(f"{where}: expected one <e1>...</e1> and one <e2>...</e2>; correct the line")
                continue
            first, second = (
                _SEMEVAL_TAG.sub("", match[2].split(f"<{tag}>")[1].split(f"</{tag}>")[0]) for tag in ("e1", "e2")
            )
            text = _SEMEVAL_TAG.sub("", match[2])
            sentence = (where, {"text": text, "h": {"name": first}, "t": {"name": second}})
        elif sentence is not None and line.strip():
            yield sentence[0], {**sentence[1], "relation": line.strip()}
            sentence = None


def is_fewrel_table(value: Any) -> bool:
    """Whether `value` is what FewRel's files hold: its instances by relation."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(
            isinstance(some, list) and some and isinstance(some[0], dict) and {"tokens", "h", "t"} <= some[0].keys()
            for some in value.values()
        )
    )


def fewrel_records(records: Iterable[tuple[str, Any] | InputError]) -> Iterator[tuple[str, Any] | InputError]:
    """Yield the instances of FewRel's own files in the shape that `sentence_document` reads; other records as they are.

    There `h` and `t` are `[name, Wikidata id, [token indices of each mention]]`, and the first mention counts.
    """
    for one in records:
        if isinstance(one, InputError) or not is_fewrel_table(one[1]):
            yield one
            continue
        where, table = one
        for relation, instances in table.items():
            for number, instance in enumerate(instances):
                place = f"{where}: {relation} instance {number}"
                try:
                    ends = {key: {"pos": [min(instance[key][2][0]), max(instance[key][2][0]) + 1]} for key in "ht"}
                    yield place, {"token": instance["tokens"], "relation": relation, **ends}
                except (KeyError, IndexError, TypeError, ValueError):
                    yield InputError(f"{place}: expected `tokens`, and `h` and `t` as [name, id, [token indices]]")


def merged(documents: Iterable[Document | InputError | None]) -> Iterator[Document | InputError]:
    """Merge documents with one text into the first of them, their facts together; errors pass through first."""
    by_text: dict[str, Document] = {}
    for document in documents:
        if isinstance(document, InputError):
            yield document
        elif document is not None:
            known = by_text.get(document.text)
            by_text[document.text] = document if known is None else _together(known, document)
    yield from by_text.values()


def _together(first: Document, second: Document) -> Document:
    triples = [
        (document.entities[fact.head].names[0], fact, document.entities[fact.tail].names[0])
        for document in (first, second)
        for fact in document.facts
    ]
    entities = NamedEntities(first.text)
    facts = []
    for head, fact, tail in triples:
        facts.append(Fact(entities.add([head], ""), entities.add([tail], ""), fact.relation, fact.pid))
    return Document(
        first.id, first.text, first.sentences, entities.all(), tuple(dict.fromkeys(facts)), None, first.tokenized
    )


def _token_record(record: dict[str, Any], where: str) -> tuple[str, list[Labelled]]:
    tokens = strings(record["token"], f"{where}: `token`")
    names = []
    for key in ("h", "t"):
        position = field(mapping(record.get(key), f"{where}: `{key}`"), "pos", list, f"{where}: `{key}`")
        if len(position) != 2 or not all(type(place) is int for place in position):
            raise InputError(f"{where}: `{key}`: `pos` must be [start, end), not {position!r}")
        if not 0 <= position[0] < position[1] <= len(tokens):
            raise InputError(f"{where}: `{key}`: `pos` {position} is out of range, there are {len(tokens)} tokens")
        names.append(" ".join(tokens[position[0] : position[1]]))
    text, _ = joined([tokens])
    return text.strip(), _directed(names[0], field(record, "relation", str, where), names[1])


def _named_record(record: dict[str, Any], where: str) -> tuple[str, list[Labelled]]:
    text = field(record, "text", str, where).strip()
    head, tail = (
        field(mapping(record.get(key), f"{where}: `{key}`"), "name", str, f"{where}: `{key}`") for key in ("h", "t")
    )
    relation = field(record, "relation", str, where)
    if relation.startswith("/"):
        relation = relation.rsplit("/", 1)[-1].replace("_", " ")
    return text, _directed(head, relation, tail)


def _instruct_record(record: dict[str, Any], where: str) -> tuple[str, list[Labelled]]:
    text = field(record, "sentence", str, where).strip()
    triples = []
    for number, value in enumerate(field(record, "relations", list, where)):
        place = f"{where}: relation {number}"
        value = mapping(value, place)
        head, tail = (
            field(mapping(value.get(key), f"{place}: `{key}`"), "name", str, f"{place}: `{key}`")
            for key in ("head", "tail")
        )
        triples.append((head, field(value, "type", str, place), tail))
    return text, triples


def _directed(first: str, relation: str, second: str) -> list[Labelled]:
    """Turn SemEval's `Cause-Effect(e2,e1)` into a triple whose head is e2."""
    match = _DIRECTED.fullmatch(relation)
    if match is None:
        return [(first, relation, second)]
    head, tail = (first, second) if match["first"] == "e1" else (second, first)
    return [(head, match["name"], tail)]


def _usable(text: str, head: str, relation: str, tail: str) -> bool:
    named = head.lower() not in _PRONOUNS and tail.lower() not in _PRONOUNS
    return named and head != tail and head in text and tail in text and relation not in _NO_RELATION


def _sentence_document(
    id: str, text: str, triples: list[Labelled], schema: Schema | None, *, tokenized: bool
) -> Document | None:
    """Make the document of usable triples, inverse facts added; None where the schema has none of the relations."""
    known = Schema.load("redocred") if schema is None else schema
    entities = NamedEntities(text)
    facts: dict[Fact, None] = {}
    for head, spelling, tail in triples:
        relation = known.find(spelling) or known.find(_SPELLINGS.get(spelling, spelling))
        if relation is None and schema is not None:
            continue
        first, second = entities.add([head], id), entities.add([tail], id)
        name = relation.name if relation else _SPELLINGS.get(spelling, spelling)
        facts[Fact(first, second, name, relation.pid if relation else None)] = None
        if relation and relation.inverse and (inverse := known.find(relation.inverse)):
            facts[Fact(second, first, inverse.name, inverse.pid)] = None
    if not facts:
        return None
    return Document(id, text, tuple(split_sentences(text)), entities.all(), tuple(facts), None, tokenized)
