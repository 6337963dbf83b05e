"""What is written for other programs: triples of graphs, annotations, pictures."""

from __future__ import annotations

import json

from tests.relation_extraction.commands import put, run


def test_use_07_turtle_of_relations_in_any_script(tmp_path):
    import re

    import pyoxigraph
    import rdflib

    from domains.relation_extraction.output.formats import Extracted, write
    from domains.relation_extraction.types import Argument, Triple

    triples = [Triple("d", Argument("红楼梦"), name, Argument("曹雪芹")) for name in ("作者", "(is)", "日 期", "née")]
    write(Extracted(triples), tmp_path, "t", ("turtle", "ntriples"))
    text = (tmp_path / "t.ttl").read_text(encoding="utf-8")
    for iri in re.findall(r"<([^>]*)>", text):
        assert not re.search(r"%(?![0-9A-Fa-f]{2})", iri), iri  # RFC 3987: a percent sign begins an escape
    assert not re.search(r"\b\w+:[0-9A-F]{2}%", text)
    read = [rdflib.Graph().parse(tmp_path / name) for name in ("t.ttl", "t.nt")]
    assert set(read[0]) == set(read[1])
    strict = [set(map(str, pyoxigraph.parse(path=tmp_path / name))) for name in ("t.ttl", "t.nt")]
    assert strict[0] == strict[1]
    assert len(strict[0]) == len(read[0])
    assert {str(relation) for _, relation, _ in read[0]} >= {"urn:peft-suite:relation/%E4%BD%9C%E8%80%85"}


def test_use_13_literal_tails_and_symmetric_relations(tmp_path):
    schema = put(
        tmp_path,
        "ships.yaml",
        "relations:\n  - {name: launched in, literal_tail: true}\n  - {name: sister of, symmetric: true}\n",
    )
    from domains.relation_extraction.types import Argument, Triple

    facts = [("The Kestrel", "launched in", "1902"), ("The Kestrel", "sister of", "Heron")]
    facts.append(("Heron", "sister of", "The Kestrel"))
    rows = [Triple("d", Argument(head), name, Argument(tail)).to_dict() for head, name, tail in facts]
    file = put(tmp_path, "t.triples.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert run("export", file, tmp_path / "out", "--schema", schema, "--formats", "ntriples,node-link") == 0
    assert '"1902"' in (tmp_path / "out/t.nt").read_text()
    graph = json.loads((tmp_path / "out/t.graph.json").read_text())
    assert [link["relation"] for link in graph["links"]] == ["launched in", "sister of"]


def test_use_20_files_for_other_programs(tmp_path):
    from xml.etree import ElementTree

    from domains.relation_extraction.output.formats import Extracted, write
    from domains.relation_extraction.types import Argument, Triple

    triples = [Triple("d;1", Argument("Bad\x01Name"), "r", Argument("\t=1+1"))]
    data = Extracted(triples, {"d;1": "שלום"}, escape_formulas=True)
    write(data, tmp_path, "t", ("svg", "html", "neo4j", "csv"))
    ElementTree.parse(tmp_path / "t.graph.svg")
    assert 'dir="auto"' in (tmp_path / "t.html").read_text(encoding="utf-8")
    nodes = (tmp_path / "t.nodes.csv").read_text(encoding="utf-8")
    assert nodes.splitlines()[0] == ":ID,label:string,docs:string[],:LABEL"
    assert "d%3B1" in nodes
    assert "'\t=1+1" in (tmp_path / "t.triples.csv").read_text(encoding="utf-8")
    write(
        Extracted([Triple("d", Argument("\r=1+1"), "r", Argument("-x"))], escape_formulas=True), tmp_path, "u", ("csv",)
    )
    assert "'\r=1+1" in (tmp_path / "u.triples.csv").read_bytes().decode()


def test_use_20_pictures_name_relations_in_any_script(tmp_path, recwarn):
    from domains.relation_extraction.output.formats import Extracted, write
    from domains.relation_extraction.types import Argument, Triple

    triples = [Triple("d", Argument("红楼梦"), "作者", Argument("曹雪芹"))]
    write(Extracted(triples), tmp_path, "t", ("png", "svg"))
    said = {str(one.message) for one in recwarn}
    assert not [line for line in said if "Glyph" in line]  # matplotlib's, one a character
    assert len(said) <= 1


def test_use_04_brat_marks_the_mention_that_states_the_fact(tmp_path):
    from domains.relation_extraction.output.formats import Extracted, write
    from domains.relation_extraction.types import Argument, Span, Triple

    text = "Oslo. Ann lives in Oslo."
    tail = Argument("Oslo", (Span(0, 4), Span(19, 23)), Span(19, 23))
    triple = Triple("d", Argument("Ann", (Span(6, 9),)), "residence", tail)
    (ann,) = [
        file for file in write(Extracted([triple], {"d": text}), tmp_path, "t", ("brat",)) if file.suffix == ".ann"
    ]
    assert "Entity 19 23\tOslo" in ann.read_text(encoding="utf-8")
