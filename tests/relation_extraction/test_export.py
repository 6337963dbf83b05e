import csv
import json

import networkx
import pytest
import rdflib

from domains.relation_extraction.output import export, graph
from domains.relation_extraction.types import Argument, Span, Triple
from domains.relation_extraction.types import Origin as Source
from suite.errors import InputError

TEXT = (
    'Zoë Ánanda <b>, wife of Liam "Red" 😀 O\'Neill,\n\u2028was born in Köln on 12 March 1962. '
    "=SUM(A1) is an act by Zoë Ánanda."
)


def argument(text: str) -> Argument:
    spans, start = [], TEXT.find(text)
    while start >= 0:
        spans.append(Span(start, start + len(text)))
        start = TEXT.find(text, start + 1)
    return Argument(text, tuple(spans))


def make(head, relation, tail, pid=None, score=0.5):
    source = Source("D_R_H_F", "suite-v1/D_R_H_F", "tiny", (0, 1))
    return Triple("Zoë & Liam", argument(head), relation, argument(tail), pid, score, 0.9, None, (0,), source)


TRIPLES = [
    make("Zoë Ánanda", "spouse", 'Liam "Red" 😀 O\'Neill', "P26"),
    make("Zoë Ánanda", "date of birth", "12 March 1962", "P569", None),
    make("Zoë Ánanda", "place of birth", "Köln", "P19"),
    make("=SUM(A1)", "languages spoken, written or signed", "Zoë Ánanda", None),
]


@pytest.fixture
def data() -> export.Extracted:
    return export.Extracted(TRIPLES, {"Zoë & Liam": TEXT}, base_iri="https://example.org/kg/")


def test_triples_file_round_trips_with_exact_offsets(tmp_path, data):
    export.write(data, tmp_path, "doc", ["jsonl"])
    read = export.read_triples(tmp_path / "doc.triples.jsonl")
    assert read == TRIPLES
    texts = export.read_texts(tmp_path / "doc.documents.jsonl")
    for triple in read:
        for end in (triple.head, triple.tail):
            assert all(texts[triple.doc_id][span.start : span.end] == end.text for span in end.mentions)


def test_acceptance_13_10_every_export_reparses_with_the_same_number_of_triples(tmp_path, data):
    files = {path.name: path for path in export.write(data, tmp_path, "doc", ["all"])}
    for name, delimiter in (("doc.triples.csv", ","), ("doc.triples.tsv", "\t")):
        with files[name].open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter=delimiter))
        assert [(r["head"], r["relation"], r["tail"]) for r in rows] == [t.key for t in TRIPLES]
    assert networkx.read_graphml(files["doc.graphml"], force_multigraph=True).number_of_edges() == 4
    assert networkx.read_gexf(files["doc.gexf"]).number_of_edges() == 4
    record = json.loads(files["doc.graph.json"].read_text("utf-8"))
    assert networkx.node_link_graph(record, edges="links").number_of_edges() == 4
    for name, syntax in (("doc.nt", "nt"), ("doc.ttl", "turtle")):
        parsed = rdflib.Graph().parse(files[name], format=syntax)
        assert sum(predicate != rdflib.RDFS.label for _, predicate, _ in parsed) == 4
    with files["doc.edges.csv"].open(encoding="utf-8", newline="") as lines:
        edges = list(csv.DictReader(lines))
    with files["doc.nodes.csv"].open(encoding="utf-8", newline="") as lines:
        nodes = {row[":ID"] for row in csv.DictReader(lines)}
    assert len(edges) == 4 and {e[":START_ID"] for e in edges} | {e[":END_ID"] for e in edges} == nodes
    (extracted,) = [json.loads(line) for line in files["doc.langextract.jsonl"].read_text("utf-8").splitlines()]
    assert len(extracted["extractions"]) == 4
    for extraction in extracted["extractions"]:
        place = extraction["char_interval"]
        assert TEXT[place["start_pos"] : place["end_pos"]] == extraction["extraction_text"]
    assert len(json.loads(files["doc.docred.json"].read_text("utf-8"))) == 4
    assert files["doc.graph.png"].read_bytes().startswith(b"\x89PNG") and b"<svg" in files["doc.graph.svg"].read_bytes()


def test_brat_offsets_point_at_their_text(tmp_path, data):
    text_file, annotation = export.write(data, tmp_path, "doc", ["brat"])
    text = text_file.read_text("utf-8")
    lines = annotation.read_text("utf-8").splitlines()
    for line in (line for line in lines if line.startswith("T")):
        _, place, shown = line.split("\t")
        start, end = (int(number) for number in place.split()[1:])
        assert text[start:end] == shown
    assert sum(line.startswith("R") for line in lines) == 4


def test_html_escapes_the_text_and_marks_the_mentions(tmp_path, data):
    (page,) = export.write(data, tmp_path, "doc", ["html"])
    html = page.read_text("utf-8")
    assert "<b>" not in html and "&lt;b&gt;" in html
    assert html.count('<mark class="both">Zoë Ánanda</mark>') == 2
    assert '<p class="passage" dir="auto">' in html and "prefers-color-scheme: dark" in html
    assert html.count('<div class="scroll" tabindex="0"><table>') == html.count("<table>") > 0


def test_docred_submission_names_every_entity_that_has_the_string(tmp_path):
    entities = {"Zoë & Liam": [["Köln"], ["Zoë Ánanda", "Zoë"], ["Zoë Ánanda"]]}
    data = export.Extracted([TRIPLES[2]], {}, entities)
    (path,) = export.write(data, tmp_path, "doc", ["docred"])
    rows = json.loads(path.read_text("utf-8"))
    assert [(row["h_idx"], row["t_idx"], row["r"]) for row in rows] == [(1, 0, "P19"), (2, 0, "P19")]


def test_formulas_are_escaped_on_request_and_numbers_never(tmp_path):
    data = export.Extracted(TRIPLES, escape_formulas=True)
    (path,) = export.write(data, tmp_path, "doc", ["csv"])
    assert "'=SUM(A1)" in path.read_text("utf-8")


def test_grouping_by_document_keeps_documents_without_triples(tmp_path):
    data = export.Extracted(TRIPLES, {"empty": "Nothing.", "Zoë & Liam": TEXT}, group_by="doc")
    path, _ = export.write(data, tmp_path, "doc", ["jsonl"])
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(record["doc_id"], len(record["triples"])) for record in records] == [("empty", 0), ("Zoë & Liam", 4)]
    assert export.read_triples(path) == TRIPLES


def test_characters_that_xml_cannot_hold_are_left_out_of_graphml(tmp_path):
    data = export.Extracted([make("a\x0bb", "r\x00", "c\ufffe")])
    (path,) = export.write(data, tmp_path, "doc", ["graphml"])
    assert set(networkx.read_graphml(path)) == {"a b", "c"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: export.read_triples(p / "none.jsonl"), "no such triples file"),
        (lambda p: export.read_triples(_file(p, '{"doc_id": "d"}')), "line 1: not a triple"),
        (lambda p: export.read_triples(_file(p, "[1]")), "line 1: not a triple"),
        (lambda p: export.read_triples(_file(p, "[" * 100_000)), "line 1: not a triple"),
        (lambda p: export.read_triples(_file(p, "Caf\xe9", encoding="cp1252")), "line 1: not a triple"),
        (lambda p: export.read_texts(_file(p, "Caf\xe9", encoding="utf-16")), "line 1: expected"),
        (lambda p: export.read_texts(_file(p, '{"id": 1}')), "line 1: expected"),
        (lambda p: export.export(_file(p, ""), p / "out", max_nodes=0), "max_nodes is 0"),
        (lambda p: export.export(_file(p, ""), p / "out", base_iri="foo bar"), "foo bar"),
        (lambda p: export.write(export.Extracted(TRIPLES), p / "out", "x", ["word"]), "unknown export format 'word'"),
        (lambda p: export.write(export.Extracted(TRIPLES), p / "out", "x", ["brat"]), "needs the documents' text"),
        (lambda p: export.export(_file(p, ""), p / "out", aliases=_file(p, "[]", "a.json")), "alias table must be"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


def test_formats_that_cannot_be_are_refused_before_any_is_written(tmp_path):
    with pytest.raises(InputError, match="brat needs"):
        export.write(export.Extracted(TRIPLES), tmp_path / "out", "x", ["csv", "brat"])
    assert not (tmp_path / "out").exists()


def test_the_verb_shows_the_words_it_can_take():
    from suite.cli import options

    assert options.usage(options.of_function(export.export)) == "TRIPLES OUT [FORMATS ...]"


def _file(folder, text, name="t.jsonl", encoding="utf-8"):
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def test_verbs_export_and_diff(tmp_path, data):
    export.write(data, tmp_path, "doc", ["jsonl"])
    answer = export.export(tmp_path / "doc.triples.jsonl", tmp_path / "out", ["brat", "turtle"])
    assert answer["triples"] == 4 and all(
        (tmp_path / "out") in type(tmp_path)(name).parents for name in answer["files"]
    )
    found = export.diff(tmp_path / "doc.triples.jsonl", tmp_path / "doc.triples.jsonl")
    assert found["unchanged"] == 4 and found["message"] == "0 added, 0 removed, 0 changed, 4 equal"
    assert graph.build(TRIPLES).labelled()[0] == ("Zoë Ánanda", "spouse", 'Liam "Red" 😀 O\'Neill')
