"""Schemas: the built-in ones, custom files, look-up, inverses, and what a wrong file says."""

from __future__ import annotations

import json

import pytest

from domains.relation_extraction.model.schema import Relation, Schema, built_in
from suite.errors import InputError
from tests.real_data import real_data


def test_redocred_has_the_96_relations_under_the_names_that_adapters_were_tuned_with():
    schema = Schema.load("redocred")
    assert len(schema) == 96
    table = json.loads(real_data("redocred/relation_pid_name.json").read_text(encoding="utf-8"))
    info = json.loads(real_data("redocred/rel_info.json").read_text(encoding="utf-8"))
    assert {relation.pid: relation.name for relation in schema} == {pid: table[pid] for pid in info}
    renamed = {pid for pid, name in info.items() if name != table[pid]}
    assert len(renamed) == 7
    for pid, other in info.items():
        assert schema.require(other).pid == pid


def test_every_description_names_both_roles_and_ends_in_an_example_of_its_own_relation():
    for relation in Schema.load("redocred"):
        assert relation.description.startswith("The head")
        assert "tail" in relation.description or "two " in relation.description or "share" in relation.description
        assert f", {relation.name}, " in relation.description
        assert '"' not in relation.description and "\n" not in relation.description


def test_literal_tails_are_the_dates_and_the_rate():
    literal = {relation.pid for relation in Schema.load("redocred") if relation.literal_tail}
    assert literal == {"P569", "P570", "P571", "P576", "P577", "P580", "P582", "P585", "P1198"}


@pytest.mark.parametrize("text", ["part of the series", "series", "P179"])
def test_find_knows_name_alias_and_property(text):
    relation = Schema.load("redocred").find(text)
    assert relation is not None and relation.name == "part of the series"


def test_find_is_exact_and_require_names_the_nearest():
    schema = Schema.load("redocred")
    assert schema.find("Country") is None
    with pytest.raises(InputError, match=r'unknown relation "sibbling".*nearest is "sibling"'):
        schema.require("sibbling")
    with pytest.raises(InputError, match='unknown property id "P999999"'):
        schema.require("P999999")


def test_expand_adds_the_inverses_of_the_table_after_the_names_and_drops_what_the_schema_lacks():
    schema = Schema.load("redocred")
    assert schema.expand(["mother", "members", "has part", "spouse", "mother", "member of"]) == [
        "mother",
        "has part",
        "spouse",
        "member of",
        "child",
        "part of",
    ]
    table = {"has part": "part of", "participant": "participant in", "follows": "followed by"}
    table |= {"capital": "capital of", "replaced by": "replaces"}
    for one, other in table.items():
        assert schema[one].inverse == other and schema[other].inverse == one
    assert schema["father"].inverse == schema["mother"].inverse == "child" and schema["child"].inverse is None
    assert sum(relation.inverse is not None for relation in schema) == 13


def test_types_restrict_only_where_they_are_known():
    relation = Schema.load("redocred")["place of birth"]
    assert relation.allows("PER", "LOC") and relation.allows(None, "LOC") and relation.allows()
    assert not relation.allows("LOC", "LOC") and not relation.allows("PER", "TIME")
    assert Relation("anything").allows("X", "Y")


def test_types_of_redocred_cover_nearly_all_labels():
    schema = Schema.load("redocred")
    inside = total = 0
    for document in json.loads(real_data("redocred/dev_revised.json").read_text(encoding="utf-8")):
        for label in document["labels"]:
            head, tail = (document["vertexSet"][label[key]][0]["type"] for key in "ht")
            inside += schema.require(label["r"]).allows(head, tail)
            total += 1
    assert inside / total > 0.98


@pytest.mark.parametrize("name", ["cdr", "chr", "redocred"])
def test_built_in_schemas_survive_a_round_trip(name):
    schema = Schema.load(name)
    assert name in built_in() and schema.name == name
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_the_names_that_corpora_use_are_aliases():
    assert Schema.load("cdr").require("CID").name == "chemical-induced disease"
    assert Schema.load("chr").require("React").name == "reacts to"


def write(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_yaml_file_a_pid_table_an_index_table_and_a_list_are_schemas(tmp_path):
    yaml = write(tmp_path, "mine.yaml", "name: mine\nrelations:\n  - name: owns\n    aliases: [has]\n  - likes\n")
    assert Schema.load(yaml).names == ("owns", "likes") and Schema.load(str(yaml)).require("has").name == "owns"
    assert Schema.load(write(tmp_path, "info.json", {"P1": "one", "P2": "two"})).require("P2").name == "two"
    assert Schema.load(write(tmp_path, "rel2id.json", {"NA": 0, "b": 1, "a": 2})).names == ("b", "a")
    listed = Schema.load(write(tmp_path, "list.json", ["a, b", "c"]))
    assert listed.names == ("a, b", "c") and listed.name == "list"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"relations": ["a", "a"]}, 'duplicate name "a"'),
        ({"relations": ["a", {"name": "b", "aliases": ["a"]}]}, 'duplicate name "a"'),
        ({"relations": [{"name": "a", "pid": "P1"}, {"name": "b", "pid": "P1"}]}, 'duplicate name "P1"'),
        ({"relations": []}, "no relations"),
        ({"relations": [{"description": "x"}]}, "relation 1: `name` must be"),
        ({"relations": [{"name": "a", "symetric": True}]}, "unknown key `symetric`"),
        ({"relations": [{"name": "a", "symmetric": "yes"}]}, "`symmetric` must be true or false"),
        ({"relations": [{"name": "a", "description": True}]}, "`description` must be a string"),
        ({"relations": [{"name": "a", "aliases": "b"}]}, "`aliases` must be a list"),
        ({"relations": ["a"], "relation": []}, "unknown key `relation`"),
        ({"a": {}}, "not a schema"),
        ("{", "not valid JSON"),
        ("3", "not a schema"),
    ],
)
def test_a_wrong_schema_is_one_clear_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        Schema.load(write(tmp_path, "bad.json", content))
    assert "\n" not in str(caught.value)


def test_a_missing_or_unreadable_schema_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="neither a built-in schema"):
        Schema.load("redocredd")
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"name: \xff")
    with pytest.raises(InputError, match="byte 6 is not UTF-8"):
        Schema.load(bad)
    bad.write_text("a: [b\nc: }", encoding="utf-8")
    with pytest.raises(InputError, match="not valid YAML") as caught:
        Schema.load(bad)
    assert "\n" not in str(caught.value)


def test_descriptions_of_a_file_replace_ours(tmp_path):
    schema = Schema.load("redocred")
    official = write(tmp_path, "d.json", {"series": "new text", "of another data set": "x"})
    described = schema.with_descriptions(official)
    assert described["part of the series"].description == "new text"
    assert described["country"].description == schema["country"].description
    with pytest.raises(InputError, match="describes no relation"):
        schema.with_descriptions(write(tmp_path, "e.json", {"x": "y"}))
    with pytest.raises(InputError, match="expected a JSON object"):
        schema.with_descriptions(write(tmp_path, "f.json", ["x"]))


def test_subset_keeps_schema_order_and_refuses_unknown_names():
    schema = Schema.load("redocred").subset(["spouse", "P17"])
    assert schema.names == ("country", "spouse") and schema.expand(["spouse"]) == ["spouse"]
    with pytest.raises(InputError, match="unknown relation"):
        schema.subset(["place of birth"])
