"""What users ran into with files of other programs, by the number of the line that told it: BioC and brat."""

from __future__ import annotations

import json

import pytest

from domains.relation_extraction.data.readers import read_documents
from domains.relation_extraction.model.schema import Schema
from domains.relation_extraction.output.formats import Extracted, write
from domains.relation_extraction.types import Argument, Span, Triple
from suite.errors import InputError
from tests.relation_extraction.commands import put

BIOC_TEXT = "Ann Lee lives in Oslo."
BIOC_ENDS = [("T1", "Person", "D1", 0, "Ann Lee"), ("T2", "City", "D2", 17, "Oslo")]


def bioc_json(relation):
    """A document of BioC in JSON: a title, an abstract with two annotations, and a relation as data sets have it."""
    annotations = [
        {
            "id": id,
            "infons": {"type": kind, "identifier": identifier},
            "text": name,
            "locations": [{"offset": 6 + at, "length": len(name)}],
        }
        for id, kind, identifier, at, name in BIOC_ENDS
    ]
    passages = [
        {"offset": 0, "text": "Homes", "annotations": []},
        {"offset": 6, "text": BIOC_TEXT, "annotations": annotations},
    ]
    return {"id": "9", "passages": passages, "relations": [relation]}


def bioc_xml(prolog="<!DOCTYPE collection SYSTEM 'BioC.dtd'>", said="Oslo"):
    annotations = "".join(
        f'<annotation id="{id}"><infon key="type">{kind}</infon><infon key="MESH">{identifier}</infon>'
        f'<location offset="{6 + at}" length="{len(name)}"/>'
        f"<text>{said if name == 'Oslo' else name}</text></annotation>"
        for id, kind, identifier, at, name in BIOC_ENDS
    )
    relation = (
        '<relation id="R1"><infon key="type">residence</infon><node refid="T2" role="Arg2"/>'
        '<node refid="T1" role="Arg1"/></relation>'
    )
    document = (
        "<document><id>9</id><passage><offset>0</offset><text>Homes</text></passage>"
        f"<passage><offset>6</offset><text>{BIOC_TEXT}</text>{annotations}{relation}</passage></document>"
    )
    return f"<?xml version='1.0' encoding='UTF-8'?>{prolog}<collection><source>s</source>{document}</collection>"


BIOC_RELATIONS = {
    "nodes": {"infons": {"type": "residence"}, "nodes": [{"refid": "T1"}, {"refid": "T2"}]},
    "biored": {"infons": {"entity1": "D1", "entity2": "D2", "type": "residence", "novel": "No"}},
    "bc5cdr": {"infons": {"relation": "residence", "Chemical": "D1", "Disease": "D2"}},
    "pubtator": {"infons": {"type": "residence", "role1": {"identifier": "D1"}, "role2": {"identifier": "D2"}}},
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xml", bioc_xml()),
        *((f"{kind}.json", json.dumps({"documents": [bioc_json(one)]})) for kind, one in BIOC_RELATIONS.items()),
        ("one.json", json.dumps(bioc_json(BIOC_RELATIONS["nodes"]))),
        ("three.json", json.dumps({"PubTator3": [bioc_json(BIOC_RELATIONS["pubtator"])]})),
    ],
)
def test_use_19_bioc_is_read(tmp_path, name, content):

    file = put(tmp_path, name, content)
    (document,) = read_documents(file, schema=Schema.load("redocred"), labelled=True)
    assert (document.id, document.text) == ("9", f"Homes\n{BIOC_TEXT}")
    assert [(entity.type, entity.names) for entity in document.entities] == [
        ("Person", ("Ann Lee",)),
        ("City", ("Oslo",)),
    ]
    (mention,) = document.entities[1].mentions
    assert document.text[mention.start : mention.end] == "Oslo"
    assert [(fact.head, fact.relation, fact.tail, fact.pid) for fact in document.facts] == [(0, "residence", 1, "P551")]


def test_use_19_bioc_that_is_wrong_or_dangerous_is_one_line(tmp_path):

    bomb = '<!DOCTYPE collection [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    spy = f'<!DOCTYPE collection [<!ENTITY a SYSTEM "file://{put(tmp_path, "secret", "s")}">]>'
    for number, prolog in enumerate((bomb, spy, "<!-- " + "x" * 5000 + " -->" + bomb)):
        with pytest.raises(InputError, match=r"declares XML entities|XML is not read"):
            list(read_documents(put(tmp_path, f"{number}.xml", bioc_xml(prolog, said="&a;"))))
    with pytest.raises(InputError, match=r"not well-formed XML .*line 1"):
        list(read_documents(put(tmp_path, "cut.xml", bioc_xml()[:-20])))
    wrong = put(tmp_path, "wrong.xml", bioc_xml(said="Rome"))
    with pytest.raises(InputError, match=r'document 1 .*"Rome" is annotated and does not occur'):
        list(read_documents(wrong))
    (document,) = read_documents(wrong, text_only=True)
    assert document.text == f"Homes\n{BIOC_TEXT}"
    assert document.entities == ()


ANN = """T1\tPerson 0 3;4 7\tAnn Lee
T2\tCity 17 21\tOslo
T3\tPerson 23 26\tAnn
N1\tReference T1 Wikidata:Q1\tAnn Lee
*\tEquiv T1 T3
A1\tNegated T2
#1\tAnnotatorNotes T2\ta town
R1\tresidence Arg1:T1 Arg2:T2
R2\tplace_of_birth Arg1:T3 Arg2:T2\t
"""


def test_use_19_brat_is_read_from_either_half(tmp_path):

    text = put(tmp_path, "in/a.txt", "Ann Lee lives in Oslo. Ann was born there.")
    put(tmp_path, "in/a.ann", ANN)
    put(tmp_path, "in/b.txt", "Bob lives in Rome.")
    schema = Schema.load("redocred")
    for source in (text, text.with_suffix(".ann")):
        (document,) = read_documents(source, schema=schema, labelled=True)
        assert [(entity.type, entity.names) for entity in document.entities] == [
            ("Person", ("Ann Lee", "Ann")),
            ("City", ("Oslo",)),
        ]
        assert [fact.relation for fact in document.facts] == ["residence", "place of birth"]
    assert [document.id for document in read_documents(text.parent)] == ["a", "b"]
    put(tmp_path, "in/a.ann", ANN.replace("17 21", "16 20"))
    with pytest.raises(InputError, match=r"a\.ann line 2: the text at \[16, 20\) is"):
        list(read_documents(text))
    assert len(list(read_documents(text.parent, text_only=True))) == 2
    text.unlink()
    with pytest.raises(InputError, match=r"there is no a\.txt beside it"):
        list(read_documents(text.with_suffix(".ann")))


def test_use_19_what_is_written_for_brat_can_be_read(tmp_path):

    triple = Triple("d", Argument("Ann Lee", (Span(0, 7),)), "place of birth", Argument("Oslo", (Span(17, 21),)))
    write(Extracted([triple], {"d": BIOC_TEXT}), tmp_path, "t", ("brat",))
    (document,) = read_documents(tmp_path / "t.brat", labelled=True)
    assert [fact.relation for fact in document.facts] == ["place of birth"]
