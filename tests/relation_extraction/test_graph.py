import pytest

from domains.relation_extraction.output import graph
from domains.relation_extraction.types import Argument, Span, Triple
from suite.errors import InputError


def triple(head, relation, tail, doc="d1", pid=None, score=None):
    return Triple(doc, Argument(head, (Span(0, len(head)),)), relation, Argument(tail), pid, score)


def test_spellings_that_differ_in_case_and_spacing_are_one_entity_and_similar_names_are_not():
    built = graph.build(
        [
            triple("Marie  Curie", "spouse", "Pierre"),
            triple("MARIE CURIE", "spouse", "pierre"),
            triple("Marie Curi", "x", "y"),
        ]
    )
    assert set(built.nodes) == {"marie curie", "pierre", "marie curi", "y"}
    assert len(built.edges) == 2


def test_edges_keep_every_document_and_its_best_score():
    built = graph.build(
        [triple("a", "r", "b", "d1", score=0.2), triple("a", "r", "b", "d2"), triple("a", "r", "b", "d1", score=0.7)]
    )
    (edge,) = built.edges
    assert edge.scores == {"d1": 0.7, "d2": None}
    assert edge.score == 0.7
    assert built.nodes["a"].documents == ("d1", "d2")


def test_alias_table_merges_through_chains_and_refuses_circles():
    built = graph.build(
        [triple("UK", "r", "b"), triple("Britain", "r", "b")], {"UK": "Britain", "Britain": "United Kingdom"}
    )
    assert set(built.nodes) == {"united kingdom", "b"}
    with pytest.raises(InputError, match="back to itself"):
        graph.build([], {"a": "b", "b": "c", "c": "a"})


def test_rdf_uses_wikidata_properties_literals_for_dates_and_percent_encoded_names():
    rdflib = pytest.importorskip("rdflib")
    built = graph.build(
        [
            triple("Zoë O'Neill", "date of birth", "12 March 1962", pid="P569"),
            triple("Zoë O'Neill", "works/with", 'Liam "Red"\n', pid=None),
        ]
    )
    rdf = graph.to_rdf(built, "https://example.org/kg/")
    parsed = rdflib.Graph().parse(data=rdf.serialize(format="nt11"), format="nt11")
    facts = {(str(p), o) for _, p, o in parsed if p != rdflib.RDFS.label}
    assert ("http://www.wikidata.org/prop/direct/P569", rdflib.Literal("12 March 1962")) in facts
    assert any(p == "https://example.org/kg/relation/works%2Fwith" for p, _ in facts)
    assert rdflib.URIRef("https://example.org/kg/entity/zo%C3%AB%20o%27neill") in set(parsed.subjects())
    with pytest.raises(InputError, match="absolute IRI"):
        graph.to_rdf(built, "not an iri")


def test_difference_tells_added_removed_and_changed():
    before = [triple("a", "r", "b"), triple("a", "s", "c"), triple("x", "r", "y")]
    after = [triple("A", "r", "b"), triple("a", "t", "c"), triple("p", "r", "q")]
    found = graph.difference(before, after)
    assert [t.key for t in found.added] == [("p", "r", "q")]
    assert [t.key for t in found.removed] == [("x", "r", "y")]
    assert [(old.relation, new.relation) for old, new in found.changed] == [("s", "t")]
    assert found.unchanged == 1
