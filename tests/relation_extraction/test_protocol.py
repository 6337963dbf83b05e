"""The wording of calls and answers."""

from __future__ import annotations

import ast
import json

import pytest

from domains.relation_extraction.model.calls import STEPS, Call
from domains.relation_extraction.model.paradigms import PARADIGMS, check_protocol, protocols
from domains.relation_extraction.model.paradigms import find as protocol
from suite.errors import InputError

PASSAGE = 'Ann {r} said "hi" .'


TEMPLATES = {
    "answers": {"relation": "{s} {a}", "subject": "{s} {a} {d}", "fact": "{s} and {a}: {h}?"},
    "analyses": {"relation": "{s}", "subject": "{s}{r}", "fact": "Think of {{{h}}} in {s}"},
}


def call(step, **fields):
    return Call(step, PASSAGE, relation="country", description="where it is", head="Ann", **fields)


@pytest.mark.parametrize(
    ("identifier", "step", "prompt"),
    [
        ("D_F", "fact", f'Given a passage: "{PASSAGE}"\nList all underlying facts.'),
        (
            "D_RS_F",
            "fact",
            f'Given a passage: "{PASSAGE}"\nList all triplet facts according to the relation list : '
            "\"['country', 'part of']\"n.",
        ),
        ("D_R_F", "relation", f'Given a passage: "{PASSAGE}"\nList all underlying relations.'),
        (
            "D_R_F",
            "fact",
            f'Given a passage: "{PASSAGE}"\nList all triplet facts that take "country" as the relation.',
        ),
        (
            "D_R_H_F",
            "subject",
            f'Given a relation : "country" and a passage: "{PASSAGE}"\n'
            "list the entities that can be serve as suitable subjects for the relation.",
        ),
        (
            "D_R_H_F",
            "fact",
            f'Provided a passage: "{PASSAGE}"\n'
            'List all triplet facts that take "country" as the relation and "Ann" as the subject.',
        ),
        ("D_R_H_F_desc", "relation", f'Given a passage: "{PASSAGE}"\nList any underlying relations.'),
        (
            "D_R_H_F_desc",
            "subject",
            f'Given a relation "country", and its description: "where it is" and a passage: "{PASSAGE}", '
            "list entities that can be identified as suitable subjects for the relation.",
        ),
        (
            "D_R_H_F_desc",
            "fact",
            f'Given relation "country" and relation description: "where it is".\nProvided a passage: "{PASSAGE}"\n'
            'List all triplet facts that take "country" as the relation and "Ann" as the subject.',
        ),
    ],
)
def test_official_prompts_are_verbatim(identifier, step, prompt):
    asked = call(step, relations=("country", "part of"))
    assert protocol(f"autore-official/{identifier}").prompt(asked) == prompt


@pytest.mark.parametrize(
    ("version", "step", "task"),
    [
        ("D_R_H_F_desc", "relation", "Task: relations\n"),
        ("D_R_H_F_desc", "subject", 'Task: heads of "country" (where it is)\n'),
        ("D_R_H_F", "subject", 'Task: heads of "country"\n'),
        ("D_R_H_F_desc", "fact", 'Task: triples "country" from "Ann"\n'),
        ("D_R_F", "fact", 'Task: triples "country"\n'),
        ("D_F", "fact", "Task: triples\n"),
        ("D_RS_F", "fact", 'Task: triples of "country", "part of"\n'),
        ("D_R_H_F_desc_analysis", "relation", "Explain: relations\n"),
        ("D_R_H_F_desc_analysis", "fact", 'Explain: triples "country" (where it is) from "Ann"\n'),
    ],
)
def test_our_prompts_share_the_passage_piece(version, step, task):
    pieces = protocol(version).pieces(call(step, relations=("country", "part of")))
    assert pieces == (f"Document:\n{PASSAGE}\n", task)


def test_an_analysis_is_asked_first_and_then_quoted():
    pieces = protocol("D_R_H_F_desc_analysis").pieces(call("fact", analysis="Ann is {x}"))
    assert pieces == (f"Document:\n{PASSAGE}\n", 'Notes:\nAnn is {x}\nTask: triples "country" from "Ann"\n')


def test_chinese_prompts_hold_everything_they_ask_about():
    passage, task = protocol("D_R_H_F_desc_chinese").pieces(call("subject"))
    assert passage == f"文档：\n{PASSAGE}\n"
    assert "country" in task and "where it is" in task
    assert "Ann" in protocol("D_R_H_F_desc_chinese").pieces(call("fact"))[1]


def test_a_wording_that_is_not_shipped_is_asked_for():
    with pytest.raises(InputError, match=r"analysis is not shipped: give --protocol-templates FILE.*relation, subject"):
        protocol("autore-official/D_R_H_F_desc_analysis").prompt(call("relation"))


def test_templates_of_a_file_become_the_prompts(tmp_path):
    file = tmp_path / "templates.json"
    file.write_text(json.dumps(TEMPLATES), encoding="utf-8")
    analysing = protocol("autore-official/D_R_H_F_desc_analysis", file)
    assert analysing.prompt(call("fact")) == f"Think of {{Ann}} in {PASSAGE}"
    assert analysing.prompt(call("fact", analysis="{r}")) == f"{PASSAGE} and {{r}}: Ann?"
    # An adapter remembers them.
    assert protocol(analysing.id, analysing.templates) == analysing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": {"relation": "{s}{a}"}}, "answers: expected an object with one template for each of relation"),
        ({"analyses": None}, "analyses: expected an object"),
        ({"more": {}}, "unknown part 'more'"),
        ({"answers": dict.fromkeys(STEPS, "{s}")}, r"answers.relation: lacks the placeholder \{a\}"),
        ({"analyses": dict.fromkeys(STEPS, "{s} {a}")}, r"analyses.relation: unknown placeholder \{a\}; there are"),
        ({"analyses": dict.fromkeys(STEPS, "{s.__class__}")}, r"unknown placeholder \{s.__class__\}"),
        ({"analyses": dict.fromkeys(STEPS, "{s!r}")}, r"unknown placeholder \{s!r\}"),
        ({"analyses": dict.fromkeys(STEPS, "{s")}, "write a literal brace twice"),
        ({"analyses": dict.fromkeys(STEPS, 1)}, "analyses.relation: expected a string"),
    ],
)
def test_wrong_templates_are_one_line(change, message):
    with pytest.raises(InputError, match=message):
        protocol("autore-official/D_R_H_F_desc_analysis", {**TEMPLATES, **change})


def test_templates_are_for_protocols_without_wording_only(tmp_path):
    with pytest.raises(InputError, match="has its own wording"):
        protocol("D_R_H_F", TEMPLATES)
    with pytest.raises(InputError, match="unknown part 'analyses'; this protocol takes answers"):
        protocol("autore-official/D_R_H_F_desc_chinese", TEMPLATES)
    broken = tmp_path / "broken.json"
    for content, message in (("{", "not JSON"), ("[]", "expected a JSON object"), ("[" * 100_000, "not JSON")):
        broken.write_text(content)
        with pytest.raises(InputError, match=message):
            protocol("autore-official/D_R_H_F_desc_chinese", broken)
    with pytest.raises(InputError, match="cannot be read"):
        protocol("autore-official/D_R_H_F_desc_chinese", tmp_path / "absent.json")


def test_answers_are_python_lines_that_read_back():
    ours = protocol("D_R_H_F")
    triple = ("O'Hara", "country", "the \"Isle\"\xa0'x'")
    assert ours.answer("relation", ["country", "part of"]) == "country\npart of"
    assert ours.answer("fact", [("O'Hara", "country", "Eire")]) == "[\"O'Hara\", 'country', 'Eire']"
    assert ast.literal_eval(ours.answer("fact", [triple])) == list(triple)


def test_only_our_protocol_can_say_nothing():
    assert protocol("suite-v1/D_R_H_F").answer("subject", []) == "none"
    assert protocol("autore-official/D_R_H_F").answer("subject", []) == ""


def test_every_paradigm_has_a_protocol():
    versions = {identifier.partition("/")[2] for identifier in protocols()}
    assert versions == set(PARADIGMS)
    assert protocol("zero-shot").steps == ("fact",)
    assert "['country']" in protocol("zero-shot").prompt(call("fact", relations=("country",)))


def test_adapters_of_the_layouts():
    assert [protocol("D_R_H_F").adapter(step, "three") for step in ("relation", "fact")] == ["relation", "fact"]
    assert protocol("D_R_H_F").adapter("fact", "single") == "joint"


def test_mistakes_are_one_line():
    with pytest.raises(InputError, match=r"unknown protocol 'D_X'.*suite-v1/D_F"):
        protocol("D_X")
    with pytest.raises(InputError, match="has no step 'subject'"):
        protocol("D_F").prompt(call("subject"))
    with pytest.raises(InputError, match="needs a head"):
        protocol("D_R_H_F").prompt(Call("fact", PASSAGE, relation="country"))
    with pytest.raises(InputError, match="was trained with protocol suite-v1/D_F"):
        check_protocol("suite-v1/D_R_H_F", "suite-v1/D_F", "tiny")
    check_protocol("suite-v1/D_R_H_F", None, "tiny")
