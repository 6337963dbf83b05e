"""The made world: reproducible documents whose labels can be trusted, and held-out parts that are held out."""

import re

import pytest

from domains.relation_extraction.data import world
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError


@pytest.mark.parametrize("split", world.SPLITS)
def test_equal_arguments_give_equal_documents(split: str) -> None:
    assert world.documents(split, seed=3, count=5) == world.documents(split, seed=3, count=8)[:5]
    assert world.documents(split, seed=3, count=5) != world.documents(split, seed=4, count=5)


@pytest.mark.parametrize("split", world.SPLITS)
def test_offsets_of_mentions_and_sentences_are_exact(split: str) -> None:
    for document in world.documents(split, count=50):
        for entity in document.entities:
            for mention in entity.mentions:
                assert document.text[mention.start : mention.end] == mention.text
                start, end = document.sentences[mention.sentence]
                assert start <= mention.start < mention.end <= end


def test_facts_hold_between_the_kinds_that_the_schema_allows() -> None:
    schema = Schema.load("tiny")
    for document in world.documents("train", count=100):
        assert document.facts
        for fact in document.facts:
            head, tail = document.entities[fact.head], document.entities[fact.tail]
            assert schema[fact.relation].allows(head.type, tail.type)
            assert head != tail


def test_schema_and_grammar_name_the_same_relations() -> None:
    downstream = world.relations("downstream")
    assert tuple(relation.name for relation in downstream) == Schema.load("tiny").names
    for relation in downstream:
        assert Schema.load("tiny")[relation.name].head_types == (relation.head,)
    assert not {relation.name for relation in world.relations("pretraining")} & set(Schema.load("tiny").names)


def test_pretraining_never_states_a_downstream_relation() -> None:
    held_out = [
        f" {phrase} " for relation in world.relations("downstream") for phrase in relation.forward + relation.backward
    ]
    for document in world.documents("pretraining", count=300):
        assert not [phrase for phrase in held_out if phrase in document.text]


def test_held_out_documents_share_no_name_with_training() -> None:
    def names(split: str) -> set[str]:
        return {
            mention.text
            for document in world.documents(split, count=200)
            for entity in document.entities
            for mention in entity.mentions
        }

    seen = names("pretraining") | names("train") | names("val")
    assert not seen & names("test")
    assert not seen & names("pretraining-test")


def test_held_out_documents_share_phrases_with_training_but_no_frame() -> None:
    for part, frames in world.grammar()["frames"].items():
        # Opening and closing may be absent; a sentence's core never is.
        assert set(frames["train"]) & set(frames["test"]) <= ({""} if part == "closings" else set()), part
    train = " ".join(document.text for document in world.documents("train", count=300))
    test = " ".join(document.text for document in world.documents("test", count=300))
    for relation in world.relations("downstream"):
        for phrase in relation.forward + relation.backward:
            assert f" {phrase} " in train
            assert f" {phrase} " in test


def test_documents_are_varied() -> None:
    documents = world.documents("train", count=300)
    text = " ".join(document.text for document in documents)
    assert re.search(r"\. (He|She|It) ", text)
    assert len({document.text.split()[0] for document in documents}) > 60
    mentioned = [sum(len(entity.mentions) for entity in document.entities) for document in documents]
    in_facts = [2 * len(document.facts) for document in documents]
    assert sum(mentioned) != sum(in_facts)
    bystanders = sum(
        entity_index not in {end for fact in document.facts for end in (fact.head, fact.tail)}
        for document in documents
        for entity_index in range(len(document.entities))
    )
    assert bystanders > 100


def test_unknown_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"no split 'dev'.*pretraining"):
        world.documents("dev")
