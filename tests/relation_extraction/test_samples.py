"""Sample builders: counts on real documents, order, shuffles, negatives, duplicates."""

from __future__ import annotations

from collections import Counter

import pytest

from domains.relation_extraction.data.documents import Document, Entity, Fact, Mention
from domains.relation_extraction.data.readers import read_documents
from domains.relation_extraction.data.samples import build_samples
from domains.relation_extraction.model.paradigms import find as protocol
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError
from tests.real_data import real_data

SCHEMA = Schema.from_dict(
    {
        "relations": [
            {"name": "owns", "description": "head has tail"},
            {"name": "likes", "description": "head likes tail"},
            "knows",
            "fears",
            "sees",
        ]
    }
)
TEXT = "Bo and Al own a car . Al likes Cy ; Cy likes Bo and knows Al ."


def document(facts=None, text=TEXT, id="d"):
    names = ["Cy", "Al", "Bo", "car"]
    entities = tuple(
        Entity(name, None, (Mention(text.index(name), text.index(name) + len(name), name),)) for name in names
    )
    if facts is None:
        facts = (Fact(0, 1, "knows"), Fact(0, 2, "likes"), Fact(1, 0, "likes"), Fact(1, 3, "owns"), Fact(2, 3, "owns"))
    return Document(id, text, ((0, len(text)),), entities, facts, tokenized=True)


def build(version, documents=None, **options):
    return list(build_samples(documents or [document()], protocol(version), SCHEMA, **options))


@pytest.fixture(scope="module")
def dev():
    path = real_data("redocred/dev_revised.json")
    return list(read_documents(path, schema=Schema.load("redocred"), labelled=True))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("autore-official/D_F", 499),
        ("autore-official/D_RS_F", 998),
        ("autore-official/D_R_F", 5_494),
        ("autore-official/D_R_H_F", 20_884),
        ("autore-official/D_R_H_F_desc", 20_884),
        ("suite-v1/D_R_H_F_desc", 20_884),
    ],
)
def test_acceptance_13_2_single_adapter_counts_on_dev(dev, version, expected):
    samples = build_samples(dev, protocol(version), Schema.load("redocred"), layout="single")
    assert Counter(sample.adapter for sample in samples) == {"joint": expected}


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", {"relation": 1_494, "subject": 8_369, "fact": 15_390}),
        ("eval", {"relation": 499, "subject": 4_995, "fact": 15_390}),
    ],
)
def test_acceptance_13_2_three_adapter_counts_on_dev(dev, split, expected):
    samples = build_samples(dev, protocol("suite-v1/D_R_H_F_desc"), Schema.load("redocred"), split=split)
    assert Counter(sample.adapter for sample in samples) == expected


def test_official_duplicates_on_dev_are_121_lines_of_whole_documents(dev):
    schema, version = Schema.load("redocred"), protocol("autore-official/D_F")
    lines = [
        sum(
            len(sample.answer.split("\n"))
            for sample in build_samples(dev, version, schema, layout="single", official_duplicates=repeated)
        )
        for repeated in (True, False)
    ]
    assert lines == [24_739, 24_739 - 121]


def test_target_lengths_on_dev(dev):
    samples = build_samples(
        dev, protocol("autore-official/D_F"), Schema.load("redocred"), layout="single", official_duplicates=True
    )
    lengths = [len(sample.answer) for sample in samples]
    assert round(sum(lengths) / len(lengths)) == 2_851 and max(lengths) == 10_614


def test_everything_is_in_order_of_first_occurrence():
    samples = build("suite-v1/D_R_H_F_desc", split="eval")
    assert [(sample.adapter, sample.call.relation, sample.call.head, sample.answer) for sample in samples] == [
        ("relation", None, None, "owns\nlikes\nknows"),
        ("subject", "owns", None, "Bo\nAl"),
        ("fact", "owns", "Bo", "['Bo', 'owns', 'car']"),
        ("fact", "owns", "Al", "['Al', 'owns', 'car']"),
        ("subject", "likes", None, "Al\nCy"),
        ("fact", "likes", "Al", "['Al', 'likes', 'Cy']"),
        ("fact", "likes", "Cy", "['Cy', 'likes', 'Bo']"),
        ("subject", "knows", None, "Cy"),
        ("fact", "knows", "Cy", "['Cy', 'knows', 'Al']"),
    ]
    assert [sample.id for sample in samples] == [f"identity_{number}" for number in range(9)]
    assert all(sample.call.passage == TEXT and sample.document == "d" for sample in samples)


def test_descriptions_enter_only_where_the_version_has_them():
    described = build("suite-v1/D_R_H_F_desc", split="eval")
    assert described[1].instruction == f'Document:\n{TEXT}\nTask: heads of "owns" (head has tail)\n'
    assert described[0].call.description is None
    assert described[-1].call.description is None, "the schema has none"
    plain = build("suite-v1/D_R_H_F", split="eval")
    assert plain[1].instruction == f'Document:\n{TEXT}\nTask: heads of "owns"\n'


def test_relation_lists_and_whole_documents():
    answers = [(sample.call.relations, sample.answer) for sample in build("suite-v1/D_RS_F", layout="single")]
    assert [sorted(answer.split("\n")) for _, answer in answers] == [
        ["knows", "likes", "owns"],
        [
            "['Al', 'likes', 'Cy']",
            "['Al', 'owns', 'car']",
            "['Bo', 'owns', 'car']",
            "['Cy', 'knows', 'Al']",
            "['Cy', 'likes', 'Bo']",
        ],
    ]
    assert answers[1][0] == ("owns", "likes", "knows")


def test_train_shuffles_are_different_orders_of_the_same_lines_and_seeded():
    samples = [sample for sample in build("suite-v1/D_R_H_F_desc") if sample.adapter == "relation"]
    answers = [sample.answer for sample in samples]
    assert answers[0] == "owns\nlikes\nknows" and len(set(answers)) == 3
    assert {tuple(sorted(answer.split("\n"))) for answer in answers} == {("knows", "likes", "owns")}
    assert build("suite-v1/D_R_H_F_desc") == build("suite-v1/D_R_H_F_desc")
    others = {
        tuple(sample.answer for sample in build("suite-v1/D_R_H_F_desc", seed=seed) if sample.adapter == "relation")
        for seed in range(8)
    }
    assert len(others) > 1


def test_the_samples_of_a_document_do_not_depend_on_its_neighbours():
    other = document(id="e")
    together = build("suite-v1/D_R_H_F_desc", [other, document()], negatives=0.7)
    alone = build("suite-v1/D_R_H_F_desc", [document()], negatives=0.7)
    assert [sample.answer for sample in together if sample.document == "d"] == [sample.answer for sample in alone]


@pytest.mark.parametrize(("shuffles", "expected"), [(0, (1, 3)), (1, (2, 3)), (2, (3, 5)), (9, (6, 5))])
def test_no_more_orders_than_there_are(shuffles, expected):
    count = Counter(sample.adapter for sample in build("suite-v1/D_R_H_F_desc", shuffles=shuffles))
    assert (count["relation"], count["subject"]) == expected


def test_negatives_ask_about_absent_relations_and_answer_with_the_empty_marker():
    samples = build("suite-v1/D_R_H_F_desc", negatives=0.5, shuffles=0)
    empty = [sample for sample in samples if sample.answer == "none"]
    assert {sample.call.relation for sample in empty} <= {"fears", "sees"} and 1 <= len(empty) <= 2
    assert all(sample.adapter == "subject" for sample in empty)
    assert not [s for s in build("suite-v1/D_R_H_F_desc", negatives=0.5, split="eval") if s.answer == "none"]
    (joint,) = {s.call.step for s in build("suite-v1/D_R_F", negatives=0.5, layout="single") if s.answer == "none"}
    assert joint == "fact"


def test_documents_without_facts_count_only_with_negatives():
    bare = document(facts=())
    assert not list(build_samples([bare], protocol("suite-v1/D_R_H_F"), SCHEMA))
    samples = list(build_samples([bare], protocol("suite-v1/D_R_H_F"), SCHEMA, negatives=2))
    assert [(s.adapter, s.answer) for s in samples] == [("relation", "none"), ("subject", "none"), ("subject", "none")]
    (whole,) = build_samples([bare], protocol("suite-v1/D_F"), SCHEMA, layout="single", negatives=1)
    assert whole.answer == "none"


def test_quotes_follow_python_and_names_over_two_lines_are_left_out():
    text = 'O\'Hara owns "it" and New\nYork .'
    names = ["O'Hara", '"it"', "New\nYork"]
    entities = tuple(Entity(n, None, (Mention(text.index(n), text.index(n) + len(n), n),)) for n in names)
    one = Document("q", text, ((0, len(text)),), entities, (Fact(0, 1, "owns"), Fact(0, 2, "owns"), Fact(2, 0, "sees")))
    (sample,) = build("suite-v1/D_F", [one], layout="single")
    assert sample.answer == "[\"O'Hara\", 'owns', '\"it\"']"


@pytest.mark.parametrize(
    ("version", "options", "message"),
    [
        ("autore-official/D_R_H_F_desc", {"negatives": 0.1}, "has no empty answer"),
        ("autore-official/D_R_H_F_desc_analysis", {}, "needs analyses"),
        ("suite-v1/zero-shot", {}, "not tuned"),
        ("suite-v1/D_F", {"negatives": -1}, "must be 0 or more"),
        ("suite-v1/D_F", {"negatives": -1}, "^negatives -1 must"),
        ("suite-v1/D_F", {"negatives": float("nan")}, "negatives nan must"),
        ("suite-v1/D_F", {"shuffles": -1}, "must be 0 or more"),
    ],
)
def test_options_that_do_not_go_together_are_refused(version, options, message):
    with pytest.raises(InputError, match=message):
        build(version, **options)


def test_a_relation_outside_the_schema_is_refused():
    with pytest.raises(InputError, match='document "d": relation "eats" is not in schema'):
        build("suite-v1/D_F", [document((Fact(0, 1, "eats"),))])
