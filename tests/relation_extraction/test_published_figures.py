"""Figures that are printed are those of the official script, of the catalogue, and of the file's names."""

from __future__ import annotations

import json

import pytest

from tests.relation_extraction.commands import DOCRED, put, run


def test_use_01_measured_is_what_evaluate_prints():
    from domains.relation_extraction.evaluation.evaluate import evaluate
    from domains.relation_extraction.tiny import rebuild

    printed = evaluate("tiny:test:12", device="cpu", resamples=10)["f1"]
    assert rebuild.measure("tiny", count=12)["adapted"] == printed


@pytest.mark.slow
def test_use_01_the_catalogues_metric_is_what_the_documented_command_prints(capsys):
    from suite import hub
    from suite.hub import paths

    (entry,) = hub.catalogue("relation_extraction", "adapter")  # one more needs its command here
    assert entry.name == "tiny"
    metric = entry.metric
    assert run("evaluate", "tiny:test", "--json") == 0
    reached = json.loads(capsys.readouterr().out)["f1"]
    assert metric.value == round(reached, 3) == 0.612
    card = paths.checkpoints() / "tiny/relation_extraction/adapter/README.md"
    assert f"micro-F1\n  {metric.value}" in card.read_text(encoding="utf-8")


SUBMISSION = [
    {"title": "A", "h_idx": 0, "t_idx": 1, "r": "P551"},
    {"title": "B", "h_idx": 0, "t_idx": 1, "r": "P551"},
    {"title": "nowhere", "h_idx": 0, "t_idx": 1, "r": "P17"},
]


def test_use_10_a_submission_scores_as_by_the_official_script(tmp_path, capsys):
    gold = put(tmp_path, "dev.json", json.dumps(DOCRED))
    submission = put(tmp_path, "submission.json", json.dumps(SUBMISSION))
    # One right of three given: documents without labels and unknown titles count in the precision.
    assert run("compare", gold, f"docred:{submission}", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["docred_f1"] == pytest.approx(2 * (1 / 3) / (1 / 3 + 1))
    # The train file names her as the gold file does, with two blanks: the fact is known, and Ign F1 leaves it out.
    train = put(tmp_path, "train.json", json.dumps(DOCRED[:1]))
    command = ("evaluate", gold, "--submission", submission, "--train-annotated", train, "--json")
    assert run(*command) == 0
    scores = json.loads(capsys.readouterr().out)["docred"]
    assert scores["precision"] == pytest.approx(1 / 3)
    assert scores["f1"] == row["docred_f1"]
    assert scores["ign_f1_annotated"] == 0


def test_use_10_evaluate_scores_the_names_of_the_file_and_every_document():
    from domains.relation_extraction.data.readers.docred import docred_document
    from domains.relation_extraction.evaluation.gold import gold_of
    from domains.relation_extraction.evaluation.scores import Evaluation
    from domains.relation_extraction.model.schema import Schema

    schema = Schema.load("redocred")
    gold = gold_of((docred_document(record, "x", schema, labelled=True) for record in DOCRED), "data x")
    evaluation = Evaluation(schema)
    for one in gold:
        evaluation.add_triples(one, [[]])
    assert [one["title"] for one in evaluation.truth] == ["A", "B"]
    assert evaluation.truth[0]["vertexSet"][0][0]["name"] == "Ann  Lee"
    assert evaluation.report.to_dict(10)["documents"] == 1
