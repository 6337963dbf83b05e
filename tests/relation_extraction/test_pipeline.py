"""Documents through the three steps, with a scripted engine."""

from __future__ import annotations

import math

import pytest

from domains.relation_extraction.data.documents import Document, Entity, Mention, plain_document, pretokenize
from domains.relation_extraction.inference.extraction import PipelineOptions
from domains.relation_extraction.inference.grounding import ground
from domains.relation_extraction.inference.pipeline import MockEngine, extract, span_score
from domains.relation_extraction.model.calls import Call, Generation
from domains.relation_extraction.model.paradigms import find as protocol
from domains.relation_extraction.model.schema import Relation, Schema
from suite.errors import InputError

SCHEMA = Schema(
    "test",
    (
        Relation("residence", "where it lives", head_types=("PER",), tail_types=("LOC",)),
        Relation("father", inverse="child"),
        Relation("child"),
        Relation("member of"),
    ),
)
TEXT = "Ann lives in Rome. Her father Bob lives in Oslo."
DOCUMENT = plain_document(TEXT, "doc")


def script(call: Call) -> str:
    if call.step == "relation":
        return "residence\nfather\nnonsense"
    if call.step == "subject":
        return {"residence": "Ann\nBob\nCarl", "father": "Ann"}.get(call.relation, "none")
    known = {"Ann": "Rome", "Bob": "Oslo"} if call.relation == "residence" else {"Ann": "Bob"}
    triples = [(h, call.relation, t) for h, t in known.items() if call.head in (h, None)]
    return "\n".join(repr(list(triple)) for triple in triples)


def run(version="D_R_H_F_desc", documents=(DOCUMENT,), answer=script, **options):
    engine = MockEngine(answer)
    return list(extract(documents, engine, protocol(version), SCHEMA, PipelineOptions(**options)))


def test_relations_then_heads_then_facts():
    (extraction,) = run()
    assert [found.key for found in extraction.triples] == [
        ("Ann", "residence", "Rome"),
        ("Bob", "residence", "Oslo"),
        ("Ann", "father", "Bob"),
    ]
    assert extraction.heads == {"residence": ("Ann", "Bob"), "father": ("Ann",)}
    assert [dropped.reason for dropped in extraction.dropped] == ["unknown_relation", "head_not_in_text"]
    assert [call.step for call in extraction.calls] == ["relation"] + 2 * ["subject"] + 3 * ["fact"]
    assert extraction.calls[1].description == "where it lives"
    assert extraction.summary() == "doc: 2 relations, 3 heads, 3 triples, 2 lines dropped, 6 calls"


@pytest.mark.parametrize(("version", "calls"), [("D_F", 1), ("D_RS_F", 2), ("D_R_F", 3), ("zero-shot", 1)])
def test_the_other_paradigms_ask_less(version, calls):
    answers = {"relation": "residence", "fact": "['Ann', 'residence', 'Rome']\n['Bob', 'father', 'Ann']"}
    (extraction,) = run(
        version, answer=lambda call: answers[call.step] + ("\nfather" if call.step == "relation" else "")
    )
    assert len(extraction.answers) == calls
    assert ("Ann", "residence", "Rome") in [found.key for found in extraction.triples]
    if version == "zero-shot":
        assert extraction.calls[0].relations == SCHEMA.names


def test_each_step_of_a_group_is_one_request():
    steps = []

    class Recording(MockEngine):
        def generate(self, calls, **options):
            steps.append([call.step for call in calls])
            return super().generate(calls, **options)

    documents = [plain_document(TEXT, str(number)) for number in range(5)]
    options = PipelineOptions(group=3)
    extractions = list(extract(iter(documents), Recording(script), protocol("D_R_H_F"), SCHEMA, options))
    assert [extraction.document.id for extraction in extractions] == ["0", "1", "2", "3", "4"]
    assert [(set(step), len(step)) for step in steps] == [
        ({"relation"}, 3),
        ({"subject"}, 6),
        ({"fact"}, 9),
        ({"relation"}, 2),
        ({"subject"}, 4),
        ({"fact"}, 6),
    ]


def test_given_relations_and_heads_skip_their_steps():
    (extraction,) = run(relations=["residence"], heads=["Bob"])
    assert [call.step for call in extraction.calls] == ["fact"]
    assert [found.key for found in extraction.triples] == [("Bob", "residence", "Oslo")]
    (extraction,) = run(heads=["Bob"])
    assert [call.step for call in extraction.calls] == ["relation", "fact", "fact"]
    with pytest.raises(InputError, match="unknown relation"):
        run(relations=["residense"])


def test_a_plan_says_what_to_ask_of_each_document():
    (extraction,) = run(plan=lambda document: {"father": ["Bob"], "residence": None})
    assert [(call.step, call.relation, call.head) for call in extraction.calls] == [
        ("subject", "residence", None),
        ("fact", "father", "Bob"),
        ("fact", "residence", "Ann"),
        ("fact", "residence", "Bob"),
    ]


def test_official_protocols_add_inverses_and_ours_do_not():
    (official,) = run("autore-official/D_R_H_F_desc")
    (ours,) = run("suite-v1/D_R_H_F_desc")
    assert official.relations == ("residence", "father", "child") and ours.relations == ("residence", "father")


def test_strict_reading_never_asks_about_names_outside_the_schema():
    (extraction,) = run("autore-official/D_R_H_F", answer=lambda call: "member of", mode="strict")
    assert extraction.answers[0].parsed.items == ("member of", "members")
    assert extraction.relations == ("member of",)


def test_limits_are_visible():
    (extraction,) = run(max_relations=1, max_heads=1)
    assert extraction.relations == ("residence",) and extraction.heads == {"residence": ("Ann",)}
    assert extraction.notices == (
        "doc: 2 relations, the first 1 were kept (--max-relations)",
        'doc: 2 heads of "residence", the first 1 were kept (--max-heads)',
    )
    assert [dropped.reason for dropped in extraction.dropped].count("limit") == 2
    (extraction,) = run("D_F", answer=lambda call: script(Call("fact", TEXT, "residence")), max_triples=1)
    assert len(extraction.triples) == 1 and "(--max-triples)" in extraction.notices[0]


def test_an_analysis_comes_before_each_answer():
    asked = []

    def answer(call):
        asked.append((call.step, call.analysis))
        return script(call) if call.analysis else f"thoughts on {call.step}"

    (extraction,) = run("autore-official/D_R_H_F_desc_analysis", answer=answer, relations=["father"])
    assert asked == [
        ("subject", None),
        ("subject", "thoughts on subject"),
        ("fact", None),
        ("fact", "thoughts on fact"),
    ]
    assert [found.key for found in extraction.triples] == [("Ann", "father", "Bob")]
    assert len(extraction.answers) == 4


def test_a_failed_answer_is_asked_for_again():
    tries = []

    class Flaky(MockEngine):
        def generate(self, calls, *, constraint=None, attempt=0):
            tries.append((len(calls), attempt))
            return [Generation("garbage" if attempt < 2 else script(call)) for call in calls]

    options = PipelineOptions(relations=["father"], heads=["Ann"], max_retries=3)
    (extraction,) = extract([DOCUMENT], Flaky(script), protocol("D_R_H_F"), SCHEMA, options)
    assert tries == [(1, 0), (1, 1), (1, 2)]
    assert [found.key for found in extraction.triples] == [("Ann", "father", "Bob")]
    assert len(extraction.answers) == 3 and len(extraction.dropped) == 2


def test_known_entity_types_rule_triples_out():
    entities = (
        Entity("0", "PER", (Mention(0, 3, "Ann"),)),
        Entity("1", "LOC", (Mention(13, 17, "Rome"),)),
        Entity("2", "PER", (Mention(30, 33, "Bob"),)),
    )
    typed = Document("doc", TEXT, DOCUMENT.sentences, entities)
    answer = "['Ann', 'residence', 'Rome']\n['Ann', 'residence', 'Bob']\n['Bob', 'residence', 'Oslo']"
    (extraction,) = run("D_F", [typed], lambda call: answer)
    assert [found.tail for found in extraction.triples] == ["Rome", "Oslo"]
    assert [dropped.reason for dropped in extraction.dropped] == ["wrong_type"]


def test_a_score_is_the_mean_of_the_lines_own_tokens():
    text = "ab\ncd"
    generation = Generation(text, offsets=(1, 2, 3, 5), logprobs=(-1.0, -2.0, -100.0, -4.0))
    assert span_score(generation, (0, 2)) == pytest.approx(math.exp(-1.5))
    assert span_score(generation, (3, 5)) == pytest.approx(math.exp(-4.0))
    assert span_score(Generation(text), (0, 2)) is None


def test_scores_of_all_steps_reach_the_triple():
    def answer(call):
        text = {"relation": "father", "subject": "Ann", "fact": "['Ann', 'father', 'Bob']"}[call.step]
        logprob = {"relation": -1.0, "subject": -2.0, "fact": -3.0}[call.step]
        return Generation(text, offsets=(len(text),), logprobs=(logprob,))

    (extraction,) = run(answer=answer)
    (found,) = extraction.triples
    scores = (found.score_relation, found.score_head, found.score)
    assert scores == pytest.approx((math.exp(-1), math.exp(-2), math.exp(-3)))


def test_spans_are_those_of_the_users_own_text():
    raw = "Éva née Ann—lives in New York. Annual fees: Ann, again (New York)."
    document = pretokenize(raw, "docred", "doc")
    answer = "['Ann', 'residence', 'New York']"
    (extraction,) = run("D_F", [document], lambda call: answer)
    (triple,) = ground(extraction.triples, document, SCHEMA, paradigm="D_F", protocol="suite-v1/D_F", adapter="tiny")
    for argument in (triple.head, triple.tail):
        assert {raw[span.start : span.end] for span in argument.mentions} == {argument.text}
    assert len(triple.head.mentions) == 2  # "Annual" is another word
    assert triple.head.start == raw.index("Ann") and triple.evidence == (0, 1)
    assert triple.source.protocol == "suite-v1/D_F"
