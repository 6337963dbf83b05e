"""What generations say, and what they may never do."""

from __future__ import annotations

import pytest

from domains.relation_extraction.inference.literal import literal
from domains.relation_extraction.inference.parsing import locate, parse_facts, parse_heads, parse_relations
from domains.relation_extraction.model.schema import Relation, Schema

SCHEMA = Schema(
    "test",
    (
        Relation("residence", pid="P551"),
        Relation("father", inverse="child"),
        Relation("child"),
        Relation("original language of film or TV show"),
        Relation("languages spoken, written or signed"),
    ),
)
PASSAGE = 'Zoë O\'Neill lives in New York City , since 1962 . Her father , Liam "Red" Neill , speaks Irish .'


def facts(text, mode="lenient", **options):
    return parse_facts(text, PASSAGE, SCHEMA, mode, **options)


def reasons(parsed):
    return [dropped.reason for dropped in parsed.dropped]


def test_acceptance_13_1_a_malicious_line_is_dropped_without_effect(tmp_path):
    target = tmp_path / "harmed"
    lines = [
        f"__import__('os').system('touch {target}')",
        f"[__import__('pathlib').Path({str(target)!r}).touch(), 'residence', 'Irish']",
        f"['Irish', 'residence', f'{{open({str(target)!r}, \"w\")}}']",
        "(lambda: exec('1'))()",
    ]
    for mode in ("strict", "lenient"):
        parsed = facts("\n".join(lines), mode)
        assert parsed.items == ()
        assert len(parsed.dropped) == len(lines)
        assert not target.exists()
    assert reasons(facts(lines[0], "strict")) == ["not_literal"]


@pytest.mark.parametrize(
    "line",
    ["[" * 4000 + "]" * 4000, "['x', 'residence', '" + "y" * 5000 + "']", "-" * 4000 + "1", "(" * 90, "[[[['a']]]]"],
)
def test_hostile_sizes_are_refused(line):
    with pytest.raises(ValueError):
        literal(line)
    for mode in ("strict", "lenient"):
        assert facts(line, mode).items == ()


def test_brackets_inside_strings_do_not_count_as_nesting():
    assert literal("['a ((((', \"b [[[[\", 'c']") == ["a ((((", "b [[[[", "c"]


@pytest.mark.parametrize("mode", ["strict", "lenient"])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "not_literal"),
        ("5", "not_list"),
        ("['Irish', 'residence']", "wrong_arity"),
        ("['Irish', 'residence', 5]", "non_string"),
        ("['Irish', 'residence', '']", "empty"),
        ("['Irish', 'residence', 'Irish']", "reflexive"),
        ("['Irish', 'owner of', 'Zoë']", "unknown_relation"),
        ("['Quetzal', 'residence', 'Irish']", "head_not_in_text"),
        ("['Irish', 'residence', 'Quetzal']", "tail_not_in_text"),
    ],
)
def test_every_dropped_line_has_its_reason(mode, line, reason):
    parsed = facts(line, mode)
    assert parsed.items == () and reasons(parsed) == [reason]
    assert parsed.dropped[0].line == line


@pytest.mark.parametrize("mode", ["strict", "lenient"])
def test_a_second_copy_is_a_duplicate(mode):
    parsed = facts("['Zoë', 'residence', 'Irish']\n['Zoë', 'residence', 'Irish']", mode)
    assert parsed.items == (("Zoë", "residence", "Irish"),) and reasons(parsed) == ["duplicate"]


def test_strict_reads_only_the_trained_form():
    assert facts("('Zoë', 'residence', 'Irish')", "strict").items == ()
    assert facts("1. ['Zoë', 'residence', 'Irish']", "strict").items == ()
    # A blank tail survives AutoRE's parser, and so ours in strict mode.
    assert facts("['Zoë', 'residence', ' ']", "strict").items == (("Zoë", "residence", ""),)


@pytest.mark.parametrize(
    "line",
    [
        "['Zoë O\\'Neill', 'residence', 'New York City']",
        '1. ["Zoë O\'Neill", "residence", "New York City"],',
        "- ('Zoë O\\'Neill', 'residence', 'New York City')",
        "(Zoë O'Neill, residence, New York City)",
        "<Zoë O'Neill | residence | New York City>",
        "Zoë O'Neill | Residence | New York City",
        "[“Zoë O'Neill”, “residence”, “New York City”]",
        "['Zoë O\\'Neill', 'P551', 'New York city']",
        '{"head": "Zoë O\'Neill", "relation": "residence", "tail": "New York City"}',
        "[['Zoë O\\'Neill', 'residence', 'New York City']]",
    ],
)
def test_lenient_salvages_what_models_write(line):
    assert facts(line).items == (("Zoë O'Neill", "residence", "New York City"),)


def test_lenient_never_splits_a_name_at_its_commas():
    parsed = facts("(Liam, languages spoken, written or signed, Irish)")
    assert parsed.items == (("Liam", "languages spoken, written or signed", "Irish"),)


def test_lenient_keeps_to_the_queried_relation():
    line = "['Zoë', 'father', 'Liam']"
    assert reasons(facts(line, relation="residence")) == ["other_relation"]
    assert facts(line, relation="residence", keep_other_relations=True).items == (("Zoë", "father", "Liam"),)
    assert facts(line, "strict", relation="residence").items == (("Zoë", "father", "Liam"),)


def test_a_queried_subject_stands_in_for_the_head():
    line = "['Liam', 'residence', 'Irish']"
    assert facts(line, "strict", subject="Zoë").items == (("Zoë", "residence", "Irish"),)
    assert facts(line, subject="Zoë").items == (("Liam", "residence", "Irish"),)
    assert facts(line.replace("Liam", "Xxxx"), subject="Zoë").items == (("Zoë", "residence", "Irish"),)


def test_a_cut_last_line_is_discarded():
    text = "['Zoë', 'residence', 'Irish']\n['Zoë', 'residence', 'New Yo"
    assert facts(text, complete=False).items == (("Zoë", "residence", "Irish"),)
    assert reasons(facts(text, complete=False)) == ["truncated"]
    assert len(facts("['Zoë', 'residence', 'Irish']", complete=False).items) == 1
    assert parse_heads("Liam\nNew", PASSAGE, complete=False).items == ("Liam",)
    assert parse_relations("child\nfather", SCHEMA, complete=False).items == ("child",)


def test_relations_by_name_number_and_case():
    assert parse_relations("1. Residence\n- father\n'P551'", SCHEMA).items == ("residence", "father")
    assert reasons(parse_relations("residence, child", SCHEMA)) == ["unknown_relation"]
    assert parse_relations("father", SCHEMA, inverses=True).items == ("father", "child")
    assert parse_relations("father", SCHEMA, "strict").items == ("father", "child")
    assert parse_relations(" Residence", SCHEMA, "strict").items == ()


def test_lower_casing_loses_the_one_name_with_capitals():
    name = "original language of film or TV show"
    assert parse_relations(name, SCHEMA, "strict", inverses=False).items == (name,)
    assert parse_relations(name, SCHEMA, "strict", inverses=False, fold=True).items == ()


def test_heads_are_strings_of_the_passage():
    parsed = parse_heads('1. Zoë\n"Liam"\nnew york city\nQuetzal\n\nLiam', PASSAGE)
    assert parsed.items == ("Zoë", "Liam", "New York City")
    assert reasons(parsed) == ["head_not_in_text", "duplicate"]


def test_the_empty_answer_says_nothing():
    assert parse_relations("none", SCHEMA, empty="none") == parse_heads("none", PASSAGE, empty="none")
    assert facts("none", empty="none").dropped == ()
    assert reasons(facts("none")) == ["not_literal"]


def test_lenient_repairs_with_caution():
    assert locate("New York Cty", PASSAGE) == "New York City"
    assert locate("1963", PASSAGE) == ""
    assert locate("Zoe", PASSAGE) == ""  # 67 %: the official threshold is 60, ours 80


def test_items_know_their_lines():
    text = "x\n['Zoë', 'residence', 'Irish']\n['Liam', 'residence', 'Irish']"
    parsed = facts(text)
    assert [text[start:end] for start, end in parsed.spans] == text.split("\n")[1:]
