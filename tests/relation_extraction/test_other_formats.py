"""Files as people have them: of other data sets, in other encodings, with gold that is wrong."""

from __future__ import annotations

import json

import pytest

from suite.errors import InputError
from tests.relation_extraction.commands import DOCRED, put

PUBTATOR = """1|t|Alpha cures beta
1|a|In mice and rats.
1\t0\t5\tAlpha\tChemicalEntity\tD001
1\t12\t16\tbeta\tDiseaseOrPhenotypicFeature\tD002
1\t20\t24\tmice\tOrganismTaxon\t-1
1\t29\t33\trats\tOrganismTaxon\t-1
1\tNegative_Correlation\tD001\tD002\tNovel
"""


def test_use_14_pubtator_with_a_fifth_column_and_without_identifiers(tmp_path):
    from domains.relation_extraction.data.readers import read_documents

    (document,) = read_documents(put(tmp_path, "b.pubtator", PUBTATOR))
    assert [entity.names for entity in document.entities] == [("Alpha",), ("beta",), ("mice",), ("rats",)]
    assert [fact.relation for fact in document.facts] == ["Negative_Correlation"]


@pytest.mark.parametrize(
    ("relations", "message"),
    [
        (["none"], 'a relation called "none"'),
        ([" padded"], "blanks around"),
        (["built by", "built by "], "blanks around"),
        ([{"name": "a", "inverse": "nowhere"}], 'inverse "nowhere"'),
    ],
)
def test_use_15_a_relation_that_can_never_be_answered_is_refused(tmp_path, relations, message):
    from domains.relation_extraction.model.schema import Schema

    file = put(tmp_path, "odd.json", json.dumps({"name": "odd", "relations": relations}))
    with pytest.raises(InputError, match=message):
        Schema.load(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", "<?xml version='1.0'?><doc>Ann met Bob.</doc>", "XML"),
        ("a.conll", "Ann B-PER\nmet O\n", "CoNLL"),
    ],
)
def test_use_19_files_of_other_formats_are_no_plain_text(tmp_path, name, content, message):
    from domains.relation_extraction.data.readers import read_documents

    with pytest.raises(InputError, match=message):
        list(read_documents(put(tmp_path, name, content)))


@pytest.mark.parametrize(
    ("name", "record"),
    [
        (
            "spo.jsonl",
            {
                "text": "Ann Lee lives in Oslo.",
                "spo_list": [{"subject": "Ann Lee", "predicate": "residence", "object": {"@value": "Oslo"}}],
            },
        ),
        ("webnlg.jsonl", {"text": "Ann Lee lives in Oslo.", "triple_list": [["Ann Lee", "residence", "Oslo"]]}),
        (
            "fewrel.json",
            {
                "P551": [
                    {
                        "tokens": ["Ann", "Lee", "lives", "in", "Oslo", "."],
                        "h": ["ann lee", "Q1", [[0, 1]]],
                        "t": ["oslo", "Q2", [[4]]],
                    }
                ]
            },
        ),
        ("table.csv", 'id,text,head,relation,tail\n1,"Ann Lee lives in Oslo.",Ann Lee,residence,Oslo\n'),
    ],
)
def test_use_19_labels_of_other_data_sets_are_read(tmp_path, name, record):
    from domains.relation_extraction.data.readers import read_documents
    from domains.relation_extraction.model.schema import Schema

    content = record if isinstance(record, str) else json.dumps(record) + "\n"
    documents = list(read_documents(put(tmp_path, name, content), schema=Schema.load("redocred"), labelled=True))
    (document,) = documents
    (fact,) = document.facts
    assert (document.entities[fact.head].names, fact.relation) == (("Ann Lee",), "residence")
    assert document.entities[fact.tail].names == ("Oslo",)


def test_use_19_markdown_may_begin_with_a_bracket(tmp_path):
    from domains.relation_extraction.data.readers import read_documents

    (document,) = read_documents(put(tmp_path, "todo.md", "[ ] Ann met Bob.\n[x] Bob met Ann.\n"))
    assert document.text.startswith("[ ] Ann")


def test_use_22_a_file_in_utf_16_says_so(tmp_path):
    from domains.relation_extraction.data.readers import read_documents

    file = put(tmp_path, "a.txt", "Ann met Bob.", encoding="utf-16")
    with pytest.raises(InputError, match="--encoding utf-16"):
        list(read_documents(file))


WRONG_GOLD = {
    "label.json": [{**DOCRED[0], "labels": [{"r": "P551", "h": 0, "t": 9}]}],
    "unknown.json": [{**DOCRED[0], "labels": [{"h": 0}]}],
    "mention.json": [{**DOCRED[0], "vertexSet": [[{"name": "Ann", "sent_id": 7, "pos": [0, 2]}]]}],
    "hacred.json": [{"text": "Ann Lee lives in Oslo .", "vertex_char": [[{"name": "Bob"}]], "labels_char": []}],
    "offsets.pubtator": "1|t|Ann Lee lives in Oslo .\n1\t0\t3\tBob\tPerson\tD1\n",
    "identifier.pubtator": "1|t|Ann Lee lives in Oslo .\n1\t0\t7\tAnn Lee\tPerson\tD1\n1\tlives\tD1\tD9\n",
    "cdr.data": "1\tAnn Lee lives in Oslo .\t1:CID:2\ttoo few\n",
    "spo.jsonl": {"text": "Ann Lee lives in Oslo .", "spo_list": [{"subject": "Ann"}]},
    "none.jsonl": {"sentence": "Ann Lee lives in Oslo .", "relations": []},
    "she.jsonl": {"token": ["Ann", "Lee", "lives", "in", "Oslo", "."], "h": {"pos": [9, 9]}, "t": {}, "relation": "x"},
}


@pytest.mark.parametrize("name", WRONG_GOLD)
def test_use_21_wrong_gold_does_not_stop_a_prediction(name, tmp_path):
    from domains.relation_extraction.data.readers import read_documents

    content = WRONG_GOLD[name]
    file = put(tmp_path, name, content if isinstance(content, str) else json.dumps(content))
    (document,) = read_documents(file, text_only=True)
    assert document.text == "Ann Lee lives in Oslo ."
    assert len(document.entities) == {"label.json": 2, "unknown.json": 2, "identifier.pubtator": 1}.get(name, 0)
    if name not in ("none.jsonl",):  # without a label it is no document at all
        with pytest.raises(InputError):
            list(read_documents(file, labelled=True))
