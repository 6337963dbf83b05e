"""Several systems in one table, and the files that peers write."""

from __future__ import annotations

import csv
import json

import pytest

from domains.relation_extraction.evaluation.compare import compare
from domains.relation_extraction.evaluation.peers import read_peer, read_submission, rebel_triples
from suite.errors import InputError
from tests.relation_extraction.reading import DOCRED, lines, write

COUNTRY = ("Lyon", "country", "France")
REBEL = "<s><triplet> Lyon <subj> France <obj> country <subj> Gaul <obj> located in <triplet> X <subj></s>"
GLIREL = {"head_text": ["Lyon"], "label": "country", "tail_text": ["France"], "score": 0.9}
LANGEXTRACT = {
    "extraction_class": "relation",
    "extraction_text": "Lyon",
    "attributes": {"subject": "Lyon", "predicate": "country", "object": "France"},
}


@pytest.fixture
def data(tmp_path):
    return write(tmp_path, "dev.json", [DOCRED])


def rows(data, *runs, **options):
    return {row["system"]: row for row in compare(str(data), runs, **options)["rows"]}


def test_peers_and_oracles_stand_in_one_table(data, tmp_path):
    title, one = DOCRED["title"], {"h_idx": 0, "t_idx": 1, "r": "P17"}
    files = {
        "docred": write(tmp_path, "submission.json", [{"title": title, **one}, {"title": title, **one, "t_idx": 2}]),
        "rebel": write(tmp_path, "rebel.txt", REBEL),
        "glirel": write(tmp_path, "glirel.json", {title: [GLIREL]}),
        "langextract": write(tmp_path, "l.jsonl", lines({"document_id": title, "extractions": [LANGEXTRACT]})),
    }
    runs = [f"{kind}={kind}:{path}" for kind, path in files.items()]
    result = compare(str(data), (*runs, "oracle:D_F"), out=tmp_path / "out")
    found = {row["system"]: row for row in result["rows"]}
    assert [found[kind]["f1"] for kind in files] == pytest.approx([2 / 3, 1.0, 1.0, 1.0])
    assert found["docred"]["docred_f1"] == pytest.approx(2 / 3) and found["docred"]["sees"] == "gold entities"
    assert found["rebel"]["dropped"] == 1 and found["rebel"]["calls"] is None
    assert found["oracle:D_F"]["calls"] == 1 and found["oracle:D_F"]["sees"] == "gold answers"
    assert "rebel: 1 triples of relations that schema redocred lacks were left out" in result["message"]
    assert [row["system"] for row in csv.DictReader((tmp_path / "out/comparison.csv").open())] == list(found)
    assert json.loads((tmp_path / "out/comparison.json").read_text()) == result["rows"]


def test_absent_and_foreign_documents_are_told(data, tmp_path):
    second = {**DOCRED, "title": "Lyon 2"}
    both = write(tmp_path, "both.json", [DOCRED, second])
    peer = write(tmp_path, "glirel.jsonl", lines({"id": "Lyon 2", "relations": [GLIREL]}, {"id": "x", "relations": []}))
    result = compare(str(both), (f"g=glirel:{peer}",))
    assert result["rows"][0]["miss"] == 1 and result["rows"][0]["tp"] == 1
    assert result["notices"] == [
        "g: nothing about 1 of 2 documents, which counts as misses",
        "g: 1 documents are not in the data and were left out",
    ]
    with pytest.raises(InputError, match="none of its documents is among the 1 of the data"):
        compare(str(data), (f"glirel:{peer}",))


def test_words_of_a_peer_are_found_in_the_passage(data, tmp_path):
    peer = write(tmp_path, "rebel.txt", "<triplet> lyon <subj> FRANCE <obj> P17")
    assert rows(data, f"r=rebel:{peer}")["r"]["f1"] == 1.0


def test_rebels_heads_hold_for_all_their_tails():
    assert rebel_triples(REBEL) == [COUNTRY, ("Lyon", "located in", "Gaul")]
    assert rebel_triples("no triple here <obj> x <subj> y") == []


def test_langextracts_entities_are_no_triples(tmp_path):
    entity = {"extraction_class": "city", "extraction_text": "Lyon", "attributes": {"size": "big"}}
    path = write(tmp_path, "l.jsonl", lines({"document_id": "d", "extractions": [entity, LANGEXTRACT]}))
    assert read_peer("langextract", path, ["d"]) == {"d": [COUNTRY]}


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("rebel", "one\ntwo", "2 lines for 1 documents"),
        ("rebel", '{"id": "d"}', "line 1: none of `output`"),
        ("glirel", '{"d": [{"label": "x"}]}', '"d": `head_text` must be a string'),
        ("glirel", '{"d": {}}', "`relations` must be a list"),
        ("glirel", "[", "not JSON"),
        ("langextract", '{"document_id": "d"}\n', "line 1: `extractions` is missing"),
        ("langextract", "{}\n{", "line 1: `extractions`"),
        ("langextract", "[1]", "line 1: expected a JSON object, not list"),
        ("docred", '[{"title": "d"}]', "prediction 0 is not"),
        ("docred", "{}", "is a list of"),
    ],
)
def test_wrong_files_give_one_line(tmp_path, kind, content, message):
    path = write(tmp_path, "file.json", content)
    with pytest.raises(InputError, match=message) as caught:
        read_submission(path) if kind == "docred" else read_peer(kind, path, ["d"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("run", ["rebel", "magic:x", "oracle:D_X", "docred:"])
def test_wrong_runs_are_refused(data, run):
    with pytest.raises(InputError):
        compare(str(data), (run,))


def test_an_index_outside_of_the_entities_is_refused(data, tmp_path):
    path = write(tmp_path, "s.json", [{"title": "Lyon", "h_idx": 0, "t_idx": 7, "r": "P17"}])
    with pytest.raises(InputError, match="t_idx 7 is outside of its 3 entities"):
        compare(str(data), (f"docred:{path}",))
