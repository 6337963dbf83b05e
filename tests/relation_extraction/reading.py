"""What the tests of the readers share: writing small files, reading them, and the one line that a wrong one gives."""

from __future__ import annotations

import json

import pytest

from domains.relation_extraction.data.readers import read_documents
from domains.relation_extraction.data.refinement import alias_groups, alias_triples
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError

REDOCRED = Schema.load("redocred")


def write(folder, name, content, encoding="utf-8"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        path.write_bytes(text.encode(encoding))
    return path


def lines(*records):
    return "\n".join(record if isinstance(record, str) else json.dumps(record) for record in records)


def read(source, schema=REDOCRED, **options):
    return list(read_documents(source, schema=schema, **options))


def triples(document):
    return alias_triples(alias_groups(document))


def error(source, schema=REDOCRED, **options):
    """The message of the one-line error that reading `source` gives."""
    with pytest.raises(InputError) as caught:
        read(source, schema, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def annotate(*found, text="Marie Curie was born in Warsaw. Curie's Warsaw is in Poland.", **more):
    """An own annotation with the triples `found`."""
    keys = ("head", "relation", "tail")
    return {"text": text, "triples": [dict(zip(keys, triple, strict=True)) for triple in found], **more}


DOCRED = {
    "title": "Lyon",
    "sents": [["Lyon", "is", "in", "France", "."], ["It", "likes", "For", "-", "l'Évêque", "."]],
    "vertexSet": [
        [{"name": "Lyon", "sent_id": 0, "pos": [0, 1], "type": "LOC"}],
        [{"name": "France", "sent_id": 0, "pos": [3, 4], "type": "LOC"}],
        [{"name": "For-l'Évêque", "sent_id": 1, "pos": [2, 5], "type": "ORG"}],
    ],
    "labels": [{"r": "P17", "h": 0, "t": 1, "evidence": [0]}, {"r": "P17", "h": 0, "t": 1, "evidence": []}],
}
HACRED = {
    "text": "李白生于碎叶，李太白是诗人。",
    "vertex_char": [[{"name": "李白", "pos": [0, 2]}, {"name": "李太白"}], [{"name": "碎叶", "pos": [9, 11]}]],
    "labels_char": [{"h": 0, "t": 1, "r": "出生地"}],
}

TOKENS = ["Ann", "Lee", "was", "born", "in", "Oslo", "."]


def relation(name, head=(0, 2), tail=(5, 6), token=TOKENS):
    return {"token": token, "h": {"pos": list(head)}, "t": {"pos": list(tail)}, "relation": name}
