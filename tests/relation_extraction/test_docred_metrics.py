"""DocRED's scores and the way from strings to its predictions; the official figures are golden cases."""

from __future__ import annotations

import pytest

from domains.relation_extraction.data.documents import Document, Entity, Fact, Mention
from domains.relation_extraction.evaluation.docred import (
    official_evaluate,
    official_evaluate_benchmark,
    predictions_of,
    train_facts,
    triples_of,
    truth_of,
)
from suite.errors import InputError


def entity(number, *names):
    return Entity(str(number), None, tuple(Mention(place, place + 1, name, place) for place, name in enumerate(names)))


DOCUMENT = Document(
    "doc",
    "Ann Lee Rome Italy",
    ((0, 18),),
    (entity(0, "Ann", "Ann Lee"), entity(1, "Rome"), entity(2, "Italy"), entity(3, "Ann")),
    (Fact(0, 1, "residence", "P551", (0,)), Fact(1, 2, "country", "P17"), Fact(3, 1, "residence", "P551")),
)
TRUTH = [truth_of(DOCUMENT)]
PIDS = {"residence": "P551", "country": "P17", "own": None}


def predict(head, tail, relation="P551", title="doc", **more):
    return {"title": title, "h_idx": head, "t_idx": tail, "r": relation, **more}


def test_copies_count_once_and_unknown_titles_are_wrong():
    score = official_evaluate([predict(0, 1), predict(0, 1), predict(0, 1, title="other")], TRUTH)
    assert (score.precision, score.recall) == (1 / 2, 1 / 3)


def test_the_evidence_counter_starts_at_one():
    assert official_evaluate([predict(0, 1, evidence=[0])], TRUTH).evidence_f1 == pytest.approx(2 / 3)


def test_facts_stated_in_train_leave_the_ign_precision():
    facts = train_facts(TRUTH)
    assert ("Ann Lee", "Rome", "P551") in facts
    predictions = [predict(0, 1), predict(1, 2, "P17"), predict(2, 1, "P17")]
    score = official_evaluate(predictions, TRUTH, facts)
    assert score.ign_f1_annotated == 0.0
    assert score.ign_f1_distant == pytest.approx(score.f1, abs=1e-5)


def test_one_prediction_and_unknown_titles_are_scored():
    single = official_evaluate_benchmark([predict(1, 2, "P17")], TRUTH)
    assert (single.precision, single.r_freq, single.r_long_tail) == (1.0, 1.0, 0.0)
    assert official_evaluate_benchmark([predict(0, 1, title="other")], TRUTH).f1 == 0.0


def test_intra_and_inter_pairs():
    far = {**TRUTH[0], "vertexSet": [[{"name": "a", "sent_id": 0}], [{"name": "b", "sent_id": 2}]]}
    far["labels"] = [{"h": 0, "t": 1, "r": "P551", "evidence": []}, {"h": 0, "t": 0, "r": "P17", "evidence": []}]
    score = official_evaluate_benchmark([predict(0, 1), predict(1, 0)], [far])
    assert score.f1_inter == pytest.approx(2 / 3) and score.f1_intra == 0.0


def test_duplicate_titles_are_refused():
    with pytest.raises(InputError, match='"doc" is there twice'):
        official_evaluate([], TRUTH * 2)


def test_strings_become_every_pair_of_entities_with_these_names():
    predictions = predictions_of(DOCUMENT, [("Ann", "residence", "Rome"), ("Ann Lee", "residence", "Rome")], PIDS)
    assert [(one["h_idx"], one["t_idx"], one["r"]) for one in predictions] == [
        (0, 1, "P551"),
        (3, 1, "P551"),
        (0, 1, "P551"),
    ]


def test_strings_that_name_no_entity_stay_in_the_denominator():
    triples = [("Ann", "residence", "Rome"), ("Bob", "residence", "Rome"), ("Eve", "own", "Rome")]
    predictions = predictions_of(DOCUMENT, triples, PIDS)
    score = official_evaluate_benchmark(predictions, TRUTH)
    assert score.precision == 2 / 4 and score.recall == 2 / 3


def test_predictions_become_strings():
    names = {"P551": "residence"}
    assert triples_of(DOCUMENT, [predict(0, 1)], names) == [("Ann", "residence", "Rome")]
    with pytest.raises(InputError, match="t_idx 9 is outside of its 4 entities"):
        triples_of(DOCUMENT, [predict(0, 9)], names)
