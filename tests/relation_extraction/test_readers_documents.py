"""Readers of annotated documents: DocRED, HacRED, PubTator, CDR; and any record at all."""

from __future__ import annotations

import json
import random

import pytest

from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError
from tests.real_data import real_data
from tests.relation_extraction.reading import (
    DOCRED,
    HACRED,
    REDOCRED,
    annotate,
    error,
    lines,
    read,
    relation,
    triples,
    write,
)


def spoilt(*path, value):
    """DocRED with the value at `path` replaced, or removed where `value` is Ellipsis."""
    record = json.loads(json.dumps(DOCRED))
    *inner, last = path
    place = record
    for key in inner:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return record


def test_docred(tmp_path):
    for name, content in (
        ("a.json", [DOCRED]),
        ("b.json", DOCRED),
        ("c.jsonl", lines(DOCRED)),
        ("d.json", lines(DOCRED)),
    ):
        (document,) = read(write(tmp_path, name, content), labelled=True)
        assert document.id == "Lyon" and document.tokenized
        assert document.text == "Lyon is in France . It likes For - l'Évêque ."
        assert document.sentences == ((0, 19), (20, 45))
        mention = document.entities[2].mentions[0]
        assert (mention.text, document.text[mention.start : mention.end]) == ("For-l'Évêque", "For - l'Évêque")
        assert mention.sentence == 1 and document.entities[2].type == "ORG"
        assert triples(document) == [("Lyon", "country", "France")], "a repeated label is one fact"
        assert document.facts[0].evidence == (0,) and document.facts[0].pid == "P17"


def test_a_sentence_without_tokens_keeps_its_number(tmp_path):
    record = {**DOCRED, "sents": [["Lyon", "is", "in", "France", "."], [], DOCRED["sents"][1]], "labels": []}
    record["vertexSet"] = [[{"name": "It", "sent_id": 2, "pos": [0, 1]}]]
    (document,) = read(write(tmp_path, "a.json", [record]))
    assert document.sentences == ((0, 19), (20, 20), (20, 45))
    mention = document.entities[0].mentions[0]
    assert mention.sentence == document.sentence_at(mention.start) == 2


def test_docred_without_labels_is_for_prediction_only(tmp_path):
    path = write(tmp_path, "a.json", [spoilt("labels", value=...)])
    assert read(path)[0].facts == ()
    assert '"Lyon": `labels` is missing' in error(path, labelled=True)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (spoilt("vertexSet", 1, 0, "sent_id", value=2), "entity 1 mention 0: `sent_id` 2 is out of range"),
        (spoilt("vertexSet", 2, 0, "sent_id", value=-1), "entity 2 mention 0: `sent_id` -1 is out of range"),
        (spoilt("vertexSet", 1, 0, "pos", value=[3, 6]), "entity 1 mention 0: `pos` [3, 6) is out of range"),
        (spoilt("vertexSet", 0, 0, "pos", value=[1, 1]), "entity 0 mention 0: `pos` [1, 1) is out of range"),
        (spoilt("vertexSet", 0, 0, "pos", value=[0]), "`pos` must be [start, end)"),
        (spoilt("vertexSet", 0, 0, "pos", value="0"), "`pos` must be [start, end)"),
        (spoilt("vertexSet", 0, value=[]), "non-empty lists of mentions"),
        (spoilt("vertexSet", 0, 0, value="Lyon"), "entity 0 mention 0: expected a JSON object"),
        (spoilt("vertexSet", 0, 0, "name", value=""), "`name` must be a non-empty string"),
        (spoilt("labels", 0, "h", value=3), "label 0: `h` 3 is outside `vertexSet`, which has 3 entities"),
        (spoilt("labels", 1, "t", value=-1), "label 1: `t` -1 is outside `vertexSet`"),
        (spoilt("labels", 0, "t", value="1"), "label 0: `t` must be a whole number"),
        (spoilt("labels", 0, "r", value="P99999"), 'label 0: unknown property id "P99999"'),
        (spoilt("labels", 0, "r", value="capitol"), 'label 0: unknown relation "capitol"'),
        (spoilt("labels", 0, "evidence", value=[2]), "label 0: evidence 2 is out of range"),
        (spoilt("labels", 0, "evidence", value=1), "label 0: `evidence` must be a list"),
        (spoilt("labels", value={}), "`labels` must be a list"),
        (spoilt("sents", value=["a b"]), "`sents` must be a list of token lists"),
        (spoilt("sents", 0, 1, value=3), "sentence 0: item 1 must be a string"),
        (spoilt("sents", value=[]), "the document is empty"),
        (spoilt("title", value=...), "no `title`"),
        (spoilt("sents", value=...), "no `sents`"),
    ],
)
def test_acceptance_13_12_wrong_docred_names_document_entity_and_mention(tmp_path, record, message):
    found = error(write(tmp_path, "a.json", [{**DOCRED, "title": "first"}, record]))
    assert "a.json: document 2" in found and message in found
    assert '"Lyon"' in found or "title" not in record


def test_without_a_schema_relations_keep_their_names(tmp_path):
    record = spoilt("labels", 0, "r", value="P99999")
    (document,) = read(write(tmp_path, "a.json", [record]), schema=None)
    assert [fact.relation for fact in document.facts] == ["P99999", "country"]


HACRED_SCHEMA = Schema.from_dict(["出生地"])


def test_hacred_names_are_found_in_the_text(tmp_path):
    (document,) = read(
        write(tmp_path, "dev.json", lines(HACRED, {**HACRED, "text": "碎叶 李白 李太白"})), HACRED_SCHEMA
    )[:1]
    assert triples(document) == [("李白", "出生地", "碎叶"), ("李太白", "出生地", "碎叶")]
    assert document.entities[1].mentions[0].start == 4 and document.id == "dev:1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels_char": [{"h": 0, "t": 2, "r": "出生地"}]}, "`t` 2 is outside"),
        ({"labels_char": [{"h": 0, "t": 1, "r": "父亲"}]}, 'unknown relation "父亲"'),
        ({"vertex_char": [[{"name": "杜甫"}], [{"name": "碎叶"}]]}, '"杜甫" does not occur in the text'),
    ],
)
def test_wrong_hacred(tmp_path, change, message):
    assert message in error(write(tmp_path, "a.jsonl", lines(HACRED | change)), HACRED_SCHEMA)


PUBTATOR = """7|t|Ethanol and acetate.
7|a|Ethanol becomes acetate.
7\t0\t7\tEthanol\tChemMet\tA:1|B:1
7\t21\t28\tEthanol\tChemMet\tA:1|B:1
7\t37\t44\tacetate\tChemMet\tC:2
7\tReact\tA:1|B:1\tC:2
7\tReact\tC:2\tC:2
"""


def test_acceptance_13_11_pubtator(tmp_path):
    chr = Schema.load("chr")
    for text in (
        PUBTATOR + "\n" + PUBTATOR.replace("7|", "8|").replace("7\t", "8\t", 5),
        PUBTATOR.replace("\n", "\r\n"),
    ):
        document = read(write(tmp_path, "a.pubtator", PUBTATOR if "8|" in text else text), chr, labelled=True)[0]
        assert document.id == "7" and document.text == "Ethanol and acetate. Ethanol becomes acetate."
        assert triples(document) == [("Ethanol", "reacts to", "acetate")], "an entity does not react with itself"
        assert [m.sentence for m in document.entities[0].mentions] == [0, 1]
    second = PUBTATOR.replace("7|t", "8|t").replace("7|a", "8|a").replace("\n7\t", "\n8\t")
    assert [document.id for document in read(write(tmp_path, "b.txt", PUBTATOR + second), chr)] == ["7", "8"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("7\t37\t44", "7\t38\t45", "line 5: the text at [38, 45) is 'cetate.' but the mention says 'acetate'"),
        ("7\t21\t28", "7\t21\t400", "line 4: the text at [21, 400) is"),
        ("7\t0\t7", "7\tzero\t7", "line 3: offsets 'zero' and '7' must be whole numbers"),
        ("A:1|B:1\tC:2", "A:1|B:1\tC:9", "line 6: no mention has the identifier 'C:9'"),
        ("React\tA", "Reacts\tA", 'line 6: unknown relation "Reacts"'),
        ("7\tReact\tC:2\tC:2", "7\tReact", "line 7: 2 columns"),
        ("7\tReact\tC:2\tC:2", "9\tReact\tC:2\tC:2", "line 7: it belongs to '9' but the document is 7"),
        ("7|t|Ethanol and acetate.\n7|a|Ethanol becomes acetate.\n", "", "line 1: expected `PMID|t|title` first"),
    ],
)
def test_wrong_pubtator_names_the_line(tmp_path, old, new, message):
    assert old in PUBTATOR
    path = write(tmp_path, "a.pubtator", PUBTATOR.replace(old, new))
    assert f"a.pubtator {message}" in error(path, Schema.load("chr"))


ASPIRIN = ("D1", "Aspirin|aspirin", "Chemical", "0:4", "1:5", "0:1")


def cdr_line():
    rash = ("1:CID:2", "L2R", "NON-CROSS", "0-1", "2-3", *ASPIRIN, "D2", "rash", "Disease", "2", "3", "0")
    pain = ("1:NR:2", "L2R", "CROSS", "0-1", "5-6", *ASPIRIN, "D3", "pain", "Disease", "5", "6", "1")
    return "\t".join(("42", "Aspirin caused rash .|aspirin pain .", *rash, *pain))


def test_acceptance_13_11_cdr(tmp_path):
    (document,) = read(write(tmp_path, "dev.data", cdr_line() + "\n"), Schema.load("cdr"), labelled=True)
    assert document.id == "42" and document.text == "Aspirin caused rash . aspirin pain ."
    assert triples(document) == [
        ("Aspirin", "chemical-induced disease", "rash"),
        ("aspirin", "chemical-induced disease", "rash"),
    ]
    assert [entity.type for entity in document.entities] == ["Chemical", "Disease", "Disease"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (cdr_line() + "\tx", "line 2: 35 columns after the text, not a multiple of 17"),
        ("\t".join(cdr_line().split("\t")[:-1]), "line 2: 33 columns after the text"),
        (cdr_line().replace("1:NR:2", "NR"), "line 2 pair 2: label 'NR' is not like"),
        (cdr_line().replace("\t5\t6\t1", "\t5\t9\t1"), "line 2 pair 2: tokens [5, 9) of D3 are out of range"),
        (cdr_line().replace("\t2\t3\t0", "\tx\t3\t0"), "line 2 pair 1: positions of D2 must be whole numbers"),
        (cdr_line().replace("0:4\t1:5", "0:4\t1"), "D1 has 2 starts but 1 ends"),
        (cdr_line().replace("1:CID:2", "1:XYZ:2"), 'unknown relation "XYZ"'),
    ],
)
def test_wrong_cdr_names_the_line(tmp_path, line, message):
    path = write(tmp_path, "dev.data", cdr_line() + "\n" + line + "\n")
    assert message in error(path, Schema.load("cdr"))


JUNK = [
    None,
    True,
    -1,
    1.5,
    "",
    " ",
    "x",
    "\ud800",
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    [1, 2],
    {"text": "a"},
    "P17",
    "Lyon",
]
TREX = {
    "docid": "Q1",
    "uri": "x",
    "text": "Lyon lies in France.",
    "triples": [{"subject": {"surfaceform": "Lyon"}, "predicate": {"uri": "P17"}, "object": {"surfaceform": "France"}}],
}
ANNOTATION = annotate((["Marie Curie", "Curie"], "P19", {"text": "Warsaw", "aliases": ["Warsaw"]}))


def places(value, path=()):
    """Yield the path of every value inside `value`."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def mutated(record, generator):
    record = json.loads(json.dumps(record))
    *inner, last = generator.choice(list(places(record)))
    place = record
    for key in inner:
        place = place[key]
    if generator.random() < 0.25:
        del place[last]
    else:
        place[last] = generator.choice(JUNK)
    return record


def test_whatever_a_record_holds_the_outcome_is_a_sound_document_or_one_line(tmp_path):
    generator = random.Random(0)
    records = [DOCRED, HACRED, relation("P19"), ANNOTATION, TREX]
    good = bad = 0
    for _ in range(1_500):
        path = write(tmp_path, "a.json", json.dumps(mutated(generator.choice(records), generator)))
        try:
            documents = read(path, generator.choice([None, REDOCRED]), labelled=generator.random() < 0.3)
        except InputError as caught:
            assert "\n" not in str(caught)
            bad += 1
            continue
        good += 1
        for document in documents:
            json.dumps(repr(document), ensure_ascii=False).encode()
            for entity in document.entities:
                assert all(0 <= m.start < m.end <= len(document.text) for m in entity.mentions)
    assert good > 100 and bad > 100


def test_every_real_mention_stands_in_its_sentence():
    for document in read(real_data("redocred/dev_revised.json"), labelled=True):
        for entity in document.entities:
            for mention in entity.mentions:
                start, end = document.sentences[mention.sentence]
                assert start <= mention.start < mention.end <= end
