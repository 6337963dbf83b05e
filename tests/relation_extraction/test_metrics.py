"""AutoRE's scores on small cases that one can count by hand; the official figures are golden cases."""

from __future__ import annotations

import csv

import pytest

from domains.relation_extraction.data.documents import plain_document
from domains.relation_extraction.data.refinement import Group
from domains.relation_extraction.evaluation.scores import DropCounts
from domains.relation_extraction.inference.pipeline import MockEngine, extract
from domains.relation_extraction.metrics import Counts, score_facts, score_heads, score_relations
from domains.relation_extraction.metrics import FactScores as Report
from domains.relation_extraction.model.paradigms import find as protocol
from domains.relation_extraction.model.schema import Relation, Schema

ANN, BOB = ("Ann", "residence", "Rome"), ("Bob", "residence", "Rome")
GROUPS = [
    Group("residence", (ANN, ("Ann Lee", "residence", "Rome"))),
    Group("residence", (ANN,)),  # another entity called Ann
    Group("child", (("Ann", "child", "Bob"),)),
]


def test_one_string_can_match_several_groups_and_a_second_hit_is_free():
    score = score_facts(GROUPS, [[ANN], [ANN, ("Ann Lee", "residence", "Rome")]])
    assert score.total == Counts(tp=2, fp=0, miss=1)
    assert score.matched == (0, 1)


def test_a_wrong_triple_counts_once_for_each_call():
    score = score_facts(GROUPS, [[BOB], [BOB, ANN]])
    assert score.relations["residence"] == Counts(tp=2, fp=2, miss=0)
    assert score.relations["child"] == Counts(miss=1)
    assert score.wrong == (BOB, BOB)


def test_case_and_spacing_count():
    assert score_facts(GROUPS, [[("ann", "residence", "Rome")]]).total == Counts(fp=1, miss=3)


def test_relation_names_are_a_set():
    score = score_relations(["residence", "child"], ["child", "child", "members"])
    assert score.total == Counts(tp=1, fp=1, miss=1)


def test_heads_count_in_facts():
    score = score_heads(GROUPS, {"residence": ["Ann", "Ann Lee", "Bob"], "child": []})
    assert score.relations["residence"] == Counts(tp=2, fp=1, miss=0)
    assert score.relations["child"] == Counts(miss=1)


def test_ratios_of_nothing_are_zero():
    assert Counts().to_dict() == {"tp": 0, "fp": 0, "miss": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert Report(()).micro.f1 == 0.0 and Report(()).interval() == (0.0, 0.0)


def test_micro_macro_and_what_has_no_gold():
    report = Report((score_facts(GROUPS, [[ANN]]), score_facts([], [[("x", "father", "y")]])))
    assert report.micro == Counts(tp=2, fp=1, miss=1)
    assert report.macro["f1"] == pytest.approx((1.0 + 0.0) / 2)  # residence and child; father has no gold
    assert report.unscored == ("father",)


def test_the_interval_holds_the_score_and_narrows_to_it():
    alike = Report((score_facts(GROUPS, [[ANN]]),) * 20)
    assert alike.interval() == pytest.approx((alike.micro.f1, alike.micro.f1))
    mixed = Report((score_facts(GROUPS, [[ANN]]), score_facts(GROUPS, [[BOB]])) * 20)
    low, high = mixed.interval()
    assert low < mixed.micro.f1 < high
    assert mixed.interval() == (low, high)


def test_the_table_reads_back():
    report = Report((score_facts(GROUPS, [[ANN, BOB]]),))
    rows = {row["relation"]: row for row in csv.DictReader(report.csv().splitlines())}
    assert rows["residence"]["tp"] == "2" and rows["residence"]["fp"] == "1" and rows["child"]["miss"] == "1"
    assert float(rows["(micro)"]["f1"]) == report.micro.f1
    assert report.table(1).splitlines()[1].startswith("residence")


def test_dropped_lines_by_step_and_reason():
    schema = Schema("test", (Relation("residence"),))
    answers = {"relation": "residence\nx\ny", "subject": "Ann\nZoe", "fact": "nonsense"}
    document = plain_document("Ann lives in Rome.")
    drops = DropCounts()
    for extraction in extract([document], MockEngine(lambda c: answers[c.step]), protocol("D_R_H_F"), schema):
        drops.add(extraction)
    assert drops.to_dict() == {
        "relation": {"unknown_relation": 2},
        "subject": {"head_not_in_text": 1},
        "fact": {"not_literal": 1},
    }
