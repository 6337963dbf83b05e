"""The verb `evaluate` and the upper bounds that it prints."""

from __future__ import annotations

import csv
import json

import pytest

from domains.relation_extraction.evaluation.evaluate import evaluate, read_json_list
from domains.relation_extraction.evaluation.gold import gold_documents, gold_plan
from domains.relation_extraction.evaluation.scores import Evaluation
from domains.relation_extraction.inference.extraction import PipelineOptions
from domains.relation_extraction.inference.pipeline import MockEngine, extract
from domains.relation_extraction.model.paradigms import find as protocol
from domains.relation_extraction.model.schema import Schema
from suite.errors import InputError
from tests.real_data import real_data
from tests.relation_extraction.reading import DOCRED, annotate, lines, write

REDOCRED = Schema.load("redocred")


@pytest.fixture
def small(tmp_path):
    """Two labelled documents, one of them twice a place called Lyon, and one without labels."""
    record = json.loads(json.dumps(DOCRED))
    second = {**record, "title": "Lyon 2", "vertexSet": [*record["vertexSet"], record["vertexSet"][0]]}
    second["labels"] = [{"r": "P17", "h": 0, "t": 1, "evidence": []}, {"r": "P17", "h": 3, "t": 1, "evidence": []}]
    return write(tmp_path, "dev.json", [record, second, {**record, "title": "bare", "labels": []}])


@pytest.mark.parametrize(
    ("paradigm", "expected"), [("D_F", (17279, 0, 5)), ("D_R_H_F_desc", (17279, 0, 5)), ("D_R_F", (17260, 0, 24))]
)
def test_acceptance_13_3_the_oracle_bounds_each_paradigm(paradigm, expected):
    result = evaluate(str(real_data("redocred/dev_revised.json")), oracle=True, paradigm=paradigm, resamples=0)
    assert (result["tp"], result["fp"], result["miss"]) == expected
    assert result["documents"] == 499


def test_the_test_split_has_its_own_bounds():
    path = str(real_data("redocred/test_revised.json"))
    for paradigm, expected in (("D_F", (17436, 0, 12)), ("D_R_F", (17400, 0, 48))):
        result = evaluate(path, oracle=True, paradigm=paradigm, resamples=0)
        assert (result["tp"], result["fp"], result["miss"]) == expected


def test_both_scores_and_the_files(small, tmp_path):
    result = evaluate(str(small), oracle=True, out=tmp_path / "out")
    assert (result["tp"], result["fp"], result["miss"], result["documents"]) == (3, 0, 0, 2)
    assert result["docred"]["f1"] == 1.0 and result["protocol"] == "autore-official/D_R_H_F_desc"
    names = {"metrics.json", "per_relation.csv", "submission.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    rows = list(csv.DictReader((tmp_path / "out" / "per_relation.csv").open()))
    assert rows[0]["relation"] == "country" and rows[0]["tp"] == "3"
    assert len(json.loads((tmp_path / "out" / "submission.json").read_text())) == 3
    assert "F1 1.0000" in result["message"]


@pytest.mark.parametrize("paradigm", ["D_RS_F", "D_R_H_F", "suite-v1/D_R_H_F_desc"])
def test_every_paradigm_can_be_bounded(small, paradigm):
    assert evaluate(str(small), oracle=True, paradigm=paradigm)["f1"] == 1.0


def test_the_model_never_sees_gold_entities(small):
    for gold in gold_documents(str(small), REDOCRED):
        assert gold.document.entities and not gold.blind.entities and not gold.blind.facts


def test_own_annotations_of_running_text_are_scored_as_the_model_reads_them(tmp_path):
    record = annotate(("Marie Curie", "place of birth", "Warsaw"), text="Marie Curie, née Skłodowska, left Warsaw.")
    path = write(tmp_path, "own.jsonl", lines(record))
    for shape, text in (("docred", "Marie Curie , née Skłodowska , left Warsaw ."), ("none", record["text"])):
        (gold,) = gold_documents(str(path), REDOCRED, shape=shape)
        assert gold.blind.text == text


@pytest.mark.parametrize(("component", "steps"), [("subject", {"subject"}), ("facts", {"fact"})])
def test_one_step_alone_gets_gold_inputs(small, component, steps):
    gold = gold_documents(str(small), REDOCRED)
    by_id = {one.document.id: one for one in gold}
    asked = []

    def answer(call):
        asked.append(call.step)
        one = next(one for one in gold if one.document.text == call.passage)
        return protocol("D_R_H_F").answer(
            call.step, one.heads(call.relation) if call.step == "subject" else one.triples(call.relation, call.head)
        )

    options = PipelineOptions(
        plan=lambda document: gold_plan(component)(by_id[document.id].document),
        stop_after="subject" if component == "subject" else None,
    )
    evaluation = Evaluation(REDOCRED, component)
    blind = (one.blind for one in gold)
    for one, extraction in zip(
        gold, extract(blind, MockEngine(answer), protocol("D_R_H_F"), REDOCRED, options), strict=True
    ):
        evaluation.add(one, [extraction])
    assert set(asked) == steps
    assert evaluation.to_dict()["f1"] == 1.0


def test_mistakes_are_one_line(small, tmp_path):
    with pytest.raises(InputError, match="--oracle asks no model; leave out --adapter --seed"):
        evaluate(str(small), oracle=True, adapter="./mine", seed=3)
    with pytest.raises(InputError, match="--resamples -1"):
        evaluate(str(small), oracle=True, resamples=-1)
    with pytest.raises(InputError, match="leave out --component"):
        evaluate(str(small), oracle=True, component="facts")
    with pytest.raises(InputError, match="no such file"):
        evaluate(str(tmp_path / "absent.json"), oracle=True)
    with pytest.raises(InputError, match="no document has a label"):
        evaluate(str(write(tmp_path, "bare.json", [{**DOCRED, "labels": []}])), oracle=True)
    with pytest.raises(InputError, match="not a DocRED train file"):
        evaluate(str(small), oracle=True, train_annotated=write(tmp_path, "train.json", [{"labels": [{}]}]))
    with pytest.raises(InputError, match="`labels` is missing"):
        unlabelled = {key: value for key, value in DOCRED.items() if key != "labels"}
        evaluate(str(write(tmp_path, "raw.json", [unlabelled])), oracle=True)


@pytest.mark.parametrize(
    ("text", "said"), [("[", "not JSON"), ("[" * 100_000, "not JSON"), ("{}", "a list of documents")]
)
def test_files_that_are_no_docred_are_one_line(text, said, tmp_path):
    (tmp_path / "dev.json").write_text(text)
    with pytest.raises(InputError, match=said):
        read_json_list(tmp_path / "dev.json")
