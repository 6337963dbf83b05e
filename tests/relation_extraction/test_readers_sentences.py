"""Readers of the sentence-level corpora: FewRel, wiki80, NYT10, SemEval, InstructUIE, T-REx."""

from __future__ import annotations

import pytest

from domains.relation_extraction.model.schema import Schema
from tests.relation_extraction.reading import TOKENS, error, lines, read, relation, triples, write


def test_fewrel_and_wiki_merge_one_text_and_add_inverses(tmp_path):
    content = lines(
        relation("P19"),
        relation("place of death"),
        relation("P22", token=["He", "met", "Bo", "and", "Cy", "in", "Oslo"], head=(2, 3), tail=(4, 5)),
        relation("P19", token=["It", "was", "born", "in", "Oslo", "a", "b"], head=(0, 1), tail=(4, 5)),
        relation("sport"),
        relation("P19", head=(5, 6)),
    )
    first, second = read(write(tmp_path, "fewrel_train.txt", content))
    assert first.id == "fewrel_train:1" and first.text == "Ann Lee was born in Oslo ."
    assert triples(first) == [("Ann Lee", "place of birth", "Oslo"), ("Ann Lee", "place of death", "Oslo")]
    assert triples(second) == [("Bo", "father", "Cy"), ("Cy", "child", "Bo")]


def test_nyt10_spells_relations_its_own_way(tmp_path):
    def record(name, text="Bo moved to Oslo .", head="Bo", tail="Oslo"):
        return {"text": text, "relation": name, "h": {"name": head, "id": "x"}, "t": {"name": tail}}

    path = write(
        tmp_path,
        "nyt10_train.txt",
        lines(
            record("/people/person/place_lived"),
            record("/people/person/nationality"),
            record("NA", text="Bo saw Oslo ."),
            record("/people/person/place_of_birth", head="Al"),
            record("/people/person/place_of_birth", text="She moved to Oslo .", head="She"),
        ),
    )
    (document,) = read(path)
    assert triples(document) == [("Bo", "residence", "Oslo"), ("Bo", "country of citizenship", "Oslo")]


@pytest.mark.parametrize("raw", [True, False])
def test_semeval_direction_says_which_end_is_the_head(tmp_path, raw):
    schema = Schema.from_dict(["Cause-Effect", "Component-Whole"])
    if raw:
        content = (
            '1\t"The <e1>fire</e1> came from <e2>fuel</e2>."\nCause-Effect(e2,e1)\nComment: none\n\n'
            '2\t"A <e1>wheel</e1> of a <e2>car</e2>."\nComponent-Whole(e1,e2)\nComment:\n\n'
            '3\t"A <e1>dog</e1> and a <e2>cat</e2>."\nOther\nComment:\n'
        )
    else:
        content = lines(
            relation("Cause-Effect(e2,e1)", (1, 2), (4, 5), ["The", "fire", "came", "from", "fuel", "."]),
            relation("Component-Whole(e1,e2)", (1, 2), (4, 5), ["A", "wheel", "of", "a", "car", "."]),
            relation("Other", (1, 2), (3, 4), ["A", "dog", "and", "cat", "."]),
        )
    documents = read(write(tmp_path, "TRAIN.TXT", content), schema)
    assert [triples(document) for document in documents] == [
        [("fuel", "Cause-Effect", "fire")],
        [("wheel", "Component-Whole", "car")],
    ]


def test_instructuie_folder_reads_train_and_dev(tmp_path):
    def record(sentence, *found):
        return {
            "sentence": sentence,
            "relations": [{"head": {"name": h}, "type": r, "tail": {"name": t}} for h, r, t in found],
        }

    write(
        tmp_path, "RE/a/train.json", [record("Bo is of Oslo .", ("Bo", "place lived", "Oslo"), ("Bo", "owns", "Oslo"))]
    )
    write(
        tmp_path,
        "RE/a/dev.json",
        [record("Al runs Acme .", ("Al", "company", "Acme")), record("x y", ("x", "NA", "y"))],
    )
    write(tmp_path, "RE/a/test.json", [record("Cy runs Beta .", ("Cy", "company", "Beta"))])
    write(tmp_path, "RE/a/labels.json", ["company", "place lived"])
    documents = read(tmp_path / "RE")
    assert [triples(d) for d in documents] == [[("Al", "employer", "Acme")], [("Bo", "residence", "Oslo")]]


def test_trex(tmp_path):
    def triple(head, pid, tail):
        uri = f"http://www.wikidata.org/prop/direct/{pid}"
        return {"subject": {"surfaceform": head}, "predicate": {"uri": uri}, "object": {"surfaceform": tail}}

    record = {
        "docid": "http://www.wikidata.org/entity/Q1",
        "uri": "x",
        "text": "Lyon lies in France.",
        "triples": [triple("Lyon", "P17", "France"), triple("Lyon", "P17", "Lyon"), triple("Nice", "P17", "France")],
    }
    pronoun = {**record, "text": "It lies in France.", "triples": [triple("It", "P17", "France")]}
    (document,) = read(write(tmp_path, "re-nlg_0.json", [record, pronoun]))
    assert triples(document) == [("Lyon", "country", "France")]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (relation("P19", head=(6, 9)), "line 2: `h`: `pos` [6, 9] is out of range, there are 7 tokens"),
        (relation("P19", tail=(1, 1)), "line 2: `t`: `pos` [1, 1] is out of range"),
        ({"token": TOKENS, "h": {"pos": [0, 1]}, "relation": "P19"}, "line 2: `t`: expected a JSON object"),
        ({**relation("P19"), "token": "Ann Lee"}, "line 2: `token`: expected a list of strings"),
        ({"text": "x", "h": {}, "t": {"name": "x"}, "relation": "a"}, "line 2: `h`: no `name`"),
        ({"sentence": "x", "relations": [{"type": "a"}]}, "line 2: relation 0: `head`: expected a JSON object"),
    ],
)
def test_wrong_records_of_sentence_level_corpora(tmp_path, record, message):
    assert message in error(write(tmp_path, "a.jsonl", lines(relation("P19"), record)))


def test_a_corpus_without_any_relation_of_the_schema_says_so(tmp_path):
    path = write(tmp_path, "a.jsonl", lines(relation("sport"), relation("league of legends")))
    assert "no record has a relation of the schema" in error(path)
    assert [triples(d) for d in read(path, schema=None)] == [
        [("Ann Lee", "sport", "Oslo"), ("Ann Lee", "league of legends", "Oslo")]
    ]
