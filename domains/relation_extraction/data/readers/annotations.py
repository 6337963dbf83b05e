"""Users' own annotations, and texts without any: JSON records with `text` and, where labelled, `triples`."""

from __future__ import annotations

from typing import Any

from domains.relation_extraction.data.documents import Document, Fact, check_text
from domains.relation_extraction.data.readers.fields import field, mapping, relation_of
from domains.relation_extraction.data.readers.named import NamedEntities
from domains.relation_extraction.data.sentences import split_sentences
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError


def annotated_document(record: Any, where: str, id: str, schema: Schema | None, labelled: bool) -> Document:
    """Make a document of `{"text": ..., "triples": [{"head": ..., "relation": ..., "tail": ...}]}`.

    Head and tail are a string, a list of strings (aliases of one entity), or an object with `text` (and `aliases`).
    Each must occur in the text. `id` may be given in the record; `triples` may be missing unless `labelled`.

    Raises:
        InputError: something is missing, unknown or not in the text; the message names the nearest match.
    """
    record = mapping(record, where)
    text = field(record, "text", str, where)
    check_text(text, where)
    given = record.get("id", id)
    if not isinstance(given, str | int) or isinstance(given, bool) or not str(given):
        raise InputError(f"{where}: `id` must be a string or a number, not {given!r}")
    if (given_as := _OTHERS.keys() & record.keys()) and "triples" not in record:
        record = {**record, "triples": _triples(record, min(given_as), where)}
    if labelled and "triples" not in record:
        raise InputError(f'{where}: no `triples`; add "triples": [{{"head": ..., "relation": ..., "tail": ...}}]')
    triples = record.get("triples", [])
    if not isinstance(triples, list):
        raise InputError(f"{where}: `triples` must be a list, not {type(triples).__name__}")
    entities = NamedEntities(text)
    facts = []
    for number, triple in enumerate(triples, 1):
        place = f"{where}: triple {number}"
        triple = mapping(triple, place)
        head = entities.add(_names(triple, "head", place), f"{place}: head")
        name, pid = relation_of(field(triple, "relation", str, place), schema, place)
        tail = entities.add(_names(triple, "tail", place), f"{place}: tail")
        facts.append(Fact(head, tail, name, pid))
    sentences, own = tuple(split_sentences(text)), {"id", "text", "triples", *_OTHERS}
    metadata = {key: value for key, value in record.items() if key not in own}
    return Document(str(given), text, sentences, entities.all(), tuple(dict.fromkeys(facts)), metadata=metadata)


# How other data sets keep their triples: DuIE and CMeIE as `spo_list`, WebNLG and NYT as `triple_list`.
_OTHERS = {"spo_list": ("subject", "predicate", "object"), "triple_list": (0, 1, 2)}


LABELS = ("triples", *_OTHERS)
"""The keys that hold the labels of a record."""


def _triples(record: dict[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    """The triples of another data set's record as ours.

    Raises:
        InputError: one is not of three strings.
    """
    triples = []
    for number, value in enumerate(field(record, key, list, where), 1):
        try:
            head, relation, tail = (value[part] for part in _OTHERS[key])
        except (KeyError, IndexError, TypeError):
            raise InputError(f"{where}: triple {number} of `{key}` must hold {_OTHERS[key]}, not {value!r}") from None
        tail = tail.get("@value") if isinstance(tail, dict) else tail
        triples.append({"head": head, "relation": relation, "tail": tail})
    return triples


def _names(triple: dict[str, Any], key: str, where: str) -> list[str]:
    value = triple.get(key)
    if isinstance(value, dict):
        aliases = value.get("aliases", [])
        value = [value.get("text"), *aliases] if isinstance(aliases, list) else None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"{where}: `{key}` must be a string of the text or a list of such strings, not {value!r}")
    return names
