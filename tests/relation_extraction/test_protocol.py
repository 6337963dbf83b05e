"""The wording of calls and answers."""

from __future__ import annotations

import ast

import pytest

from domains.relation_extraction.protocol import PARADIGMS, check_protocol, protocol, protocols
from domains.relation_extraction.types import Call
from suite.errors import InputError

PASSAGE = 'Ann {r} said "hi" .'


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
        (
            "D_R_H_F_desc_chinese",
            "fact",
            f'给定关系"country"及其描述："where it is"。\n提供一段文字："{PASSAGE}"\n'
            '列出所有三元组事实，以"country"为关系，"Ann"为主体。',
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
    ],
)
def test_our_prompts_share_the_passage_piece(version, step, task):
    pieces = protocol(version).pieces(call(step, relations=("country", "part of")))
    assert pieces == (f"Document:\n{PASSAGE}\n", task)


def test_an_analysis_is_asked_first_and_then_quoted():
    analysing = protocol("autore-official/D_R_H_F_desc_analysis")
    assert analysing.prompt(call("relation")).endswith(
        "conduct a comprehensive analysis to uncover any underlying relations."
    )
    assert 'as: "Ann is {x}".\nBased on' in analysing.prompt(call("fact", analysis="Ann is {x}"))


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
