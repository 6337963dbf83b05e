"""A triple's span is the mention that the evidence holds: over hundreds of documents whose facts are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domains.relation_extraction.data import world
from domains.relation_extraction.data.documents import pretokenize
from domains.relation_extraction.inference.chunks import chunk, merge_triples
from domains.relation_extraction.inference.extraction import Found
from domains.relation_extraction.inference.grounding import ground
from domains.relation_extraction.model.schema import Schema

SCHEMA = Schema.load("tiny")
ORIGIN = {"paradigm": "D_R_H_F_desc", "protocol": "suite-v1/D_R_H_F_desc", "adapter": "tiny"}


@pytest.fixture(scope="module")
def documents():
    """Held-out documents, each fact told in one sentence; half of the subjects there are pronouns."""
    return list(world.documents("test", seed=5, count=300))


def found_in(document):
    names = [entity.names[0] for entity in document.entities]
    return [Found(names[fact.head], fact.relation, names[fact.tail]) for fact in document.facts]


def places(triples):
    return {triple.key: (triple.head.own, triple.tail.own, triple.evidence) for triple in triples}


def test_spans_lie_in_the_sentence_that_is_the_evidence(documents):
    with_evidence = by_pronoun = 0
    for document in documents:
        for triple in ground(found_in(document), document, SCHEMA, **ORIGIN):
            for end in (triple.head, triple.tail):
                assert document.text[end.start : end.end] == end.text
                assert end.own in end.mentions
            head, tail = (document.sentence_at(end.start) for end in (triple.head, triple.tail))
            if triple.evidence:
                assert head == tail == triple.evidence[0]
                with_evidence += 1
            else:  # "It was translated by ...": the sentence before names what is meant
                assert tail == head + 1
                by_pronoun += 1
    assert with_evidence > 500
    assert by_pronoun > 40


def test_spans_do_not_depend_on_the_shape_that_the_model_reads(documents):
    for document in documents:
        shaped = [pretokenize(replace(document, tokenized=False), how) for how in ("none", "docred")]
        one, other = (places(ground(found_in(each), each, SCHEMA, **ORIGIN)) for each in shaped)
        assert one == other


def test_spans_do_not_depend_on_where_a_document_is_cut(documents):
    """Facts within a sentence; a cut between a name and its pronoun hides what is meant."""
    for first, second in zip(documents[::2], documents[1::2], strict=True):
        text = f"{first.text} {second.text}"
        whole = pretokenize(text, "none")
        found = [one for part in (first, second) for one in found_in(part)]
        expected = places(ground(found, whole, SCHEMA, **ORIGIN))
        triples = []
        for piece in chunk(whole, len, len(text) // 3, 1):
            here = [one for one in found if any(one.head in line and one.tail in line for line in sentences(piece))]
            triples += ground(here, whole, SCHEMA, **ORIGIN, within=(piece.start, piece.end))
        for key, place in places(merge_triples(triples)).items():
            assert place == expected[key]


def sentences(piece):
    return [piece.document.text[start:end] for start, end in piece.document.sentences]
