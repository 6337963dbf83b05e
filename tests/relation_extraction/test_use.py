"""What users ran into, by the number of the line that told it. Each test makes its own input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from domains.relation_extraction import RelationExtractor
from domains.relation_extraction.inference.session import Session
from domains.relation_extraction.model.calls import Call
from domains.relation_extraction.output import graph
from domains.relation_extraction.output.result import ExtractionResult
from domains.relation_extraction.types import ExtractionQuery
from suite.cli.main import main
from suite.errors import InputError

BURIED = "Mirela Dostan was buried in Port Selmar."
FINANCED = "Selmar Foundry was financed by Brandor Keth."


@pytest.fixture(scope="module")
def tiny():
    return RelationExtractor.from_pretrained("tiny", device="cpu")


def run(*words):
    """The exit code of a command of the domain."""
    return main(["relation_extraction", *map(str, words)])


def written(folder):
    """Keys of the triples in a folder's files, by file."""
    files = sorted(Path(folder).glob("*.triples.jsonl"))
    rows = {file.name: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files}
    return {
        name: [(row["head"]["text"], row["relation"], row["tail"]["text"]) for row in all] for name, all in rows.items()
    }


def put(folder, name, text, encoding="utf-8"):
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path


def test_use_02_one_name_is_one_name_not_its_letters(tiny):
    asked = [triple.key for triple in tiny(BURIED, heads="Mirela Dostan", relations="burial place")]
    assert asked == [("Mirela Dostan", "burial place", "Port Selmar")]
    assert ExtractionQuery(formats="csv", heads=["a", "b"]).heads == ("a", "b")


def test_use_03_inputs_of_one_stem_have_files_of_their_own(tmp_path):
    first, second = put(tmp_path, "a/report.txt", BURIED), put(tmp_path, "b/Report.txt", FINANCED)
    assert run("predict", first, second, "--out", tmp_path / "out", "--formats", "jsonl") == 0
    found = written(tmp_path / "out")
    assert set(found) == {"report.triples.jsonl", "Report-2.triples.jsonl"}
    assert found["report.triples.jsonl"][0][0] == "Mirela Dostan"
    assert found["Report-2.triples.jsonl"][0][0] == "Selmar Foundry"


def test_use_04_the_span_is_the_mention_that_states_the_fact(tiny):
    text = "Port Selmar Foundry was financed by Brandor Keth. Mirela Dostan was buried in Port Selmar."
    (triple,) = tiny(text, heads=("Mirela Dostan",), relations=("burial place",))
    assert triple.key == ("Mirela Dostan", "burial place", "Port Selmar")
    assert (triple.tail.start, triple.tail.end) == (text.rindex("Port Selmar"), len(text) - 1)
    assert triple.evidence == (1,)
    again = type(triple).from_dict(json.loads(json.dumps(triple.to_dict())))
    assert again == triple


def test_use_05_what_is_a_path_may_be_a_string(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "report.txt", BURIED)
    aliases = put(tmp_path, "aliases.json", '{"M. Dostan": "Mirela Dostan"}')
    options = {"formats": ("jsonl", "turtle"), "aliases": str(aliases), "trace": "trace.jsonl"}
    for result in tiny.predict(["report.txt"], out="triples", **options):
        assert result.save("triples")
        assert result.to_networkx().number_of_edges() == len(result.triples) > 0
    assert (tmp_path / "trace.jsonl").is_file()
    (again,) = tiny.predict(["report.txt"], resume="triples", **options)
    assert again.triples


def test_use_08_a_second_run_keeps_what_is_finished(tmp_path, capsys):
    report, out = put(tmp_path, "report.txt", BURIED), tmp_path / "out"
    command = ("predict", report, "--out", out, "--formats", "jsonl", "--relations", "burial place")
    assert run(*command) == 0
    before = (out / "progress.jsonl").read_bytes()
    capsys.readouterr()
    assert run(*command) == 2
    said = capsys.readouterr().err
    assert "--resume" in said
    assert "--overwrite" in said
    assert (out / "progress.jsonl").read_bytes() == before
    assert run(*command, "--resume") == 0
    assert run(*command, "--overwrite") == 0


def test_use_16_results_are_no_inputs(tmp_path):
    for out in ("notes/out", "notes"):
        folder = tmp_path / out.replace("/", "_")
        put(folder, "notes/report.txt", BURIED)
        command = ("predict", folder / "notes", "--out", folder / out, "--formats", "all", "--json")
        assert run(*command) == 0
        first = written(folder / out)
        assert run(*command, "--overwrite") == 0
        assert written(folder / out) == first
        assert len((folder / out / "notes.documents.jsonl").read_text().splitlines()) == 1


def test_use_17_an_empty_text_takes_no_other_with_it(tiny, capsys):
    asked = {"heads": ("Mirela Dostan",), "relations": ("burial place",)}
    one, nothing, other = tiny.batch([BURIED, "", BURIED], **asked)
    assert [triple.key for triple in one] == [triple.key for triple in other] != []
    assert nothing == []
    assert "text:2: the document is empty" in capsys.readouterr().err
    with pytest.raises(InputError, match="empty"):
        tiny("")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ("jsonl", "jpg")}, "unknown export format 'jpg'"),
        ({"mode": "loose"}, "mode is 'loose'; choose lenient or strict"),
        ({"backend": "vllm3"}, "backend is 'vllm3'"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": "many"}, "max_new_tokens must be a whole number"),
        ({"overlap": -1}, "overlap is -1"),
        ({"base_iri": "no iri"}, "base IRI 'no iri'"),
        ({"aliases": "nowhere.json"}, "nowhere.json"),
        ({"format": "jpg"}, "format `jpg` is unknown"),
        ({"encoding": "utf-99"}, "encoding `utf-99` is unknown"),
        ({"schema": "nowhere.yaml"}, "nowhere.yaml"),
        ({"relations": ("unheard of",)}, "unheard of"),
        ({"examples": "nowhere.jsonl", "paradigm": "zero-shot"}, "nowhere.jsonl"),
    ],
)
def test_use_12_options_are_checked_before_anything_is_done(tiny, options, message):
    with pytest.raises(InputError, match=message):
        tiny.batch([], **options)


def test_use_01_measured_is_what_evaluate_prints():
    from domains.relation_extraction.evaluation.evaluate import evaluate
    from domains.relation_extraction.tiny import rebuild

    printed = evaluate("tiny:test:12", device="cpu", resamples=10)["f1"]
    assert rebuild.measure("tiny", count=12)["adapted"] == printed


@pytest.mark.slow
def test_use_01_the_catalogues_metric_is_what_the_documented_command_prints(capsys):
    from suite import hub
    from suite.hub import paths

    (entry,) = hub.catalogue("relation_extraction", "adapter")  # one more needs its command here
    assert entry.name == "tiny"
    metric = entry.metric
    assert run("evaluate", "tiny:test", "--json") == 0
    reached = json.loads(capsys.readouterr().out)["f1"]
    assert metric.value == round(reached, 3) == 0.612
    card = paths.checkpoints() / "tiny/relation_extraction/adapter/README.md"
    assert f"micro-F1\n  {metric.value}" in card.read_text(encoding="utf-8")


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


def test_use_09_a_name_with_commas_can_be_asked_for(tmp_path):
    from suite.cli.options import Parser, of_dataclass, parse

    text = put(tmp_path, "t.txt", "The Lanterns of Orvane, North was translated by Hodran Varrin.")
    options = of_dataclass(ExtractionQuery)
    given = parse(Parser("p", options), options, ["--heads", '"The Lanterns of Orvane, North",Ada', "--heads", "Bob"])
    assert given["heads"] == ("The Lanterns of Orvane, North", "Ada", "Bob")
    command = ("predict", text, "--heads", '"The Lanterns of Orvane, North"', "--relations", "translator")
    assert run(*command, "--out", tmp_path / "out", "--formats", "jsonl") == 0
    assert written(tmp_path / "out")["t.triples.jsonl"][0][0] == "The Lanterns of Orvane, North"


DOCRED = [
    {
        "title": "A",
        "sents": [["Ann", "Lee", "lives", "in", "Oslo", "."]],
        "vertexSet": [
            [{"name": "Ann  Lee", "sent_id": 0, "pos": [0, 2], "type": "PER"}],
            [{"name": "Oslo", "sent_id": 0, "pos": [4, 5], "type": "LOC"}],
        ],
        "labels": [{"r": "P551", "h": 0, "t": 1, "evidence": [0]}],
    },
    {
        "title": "B",
        "sents": [["Bob", "is", "in", "Rome", "."]],
        "vertexSet": [
            [{"name": "Bob", "sent_id": 0, "pos": [0, 1], "type": "PER"}],
            [{"name": "Rome", "sent_id": 0, "pos": [3, 4], "type": "LOC"}],
        ],
        "labels": [],
    },
]
SUBMISSION = [
    {"title": "A", "h_idx": 0, "t_idx": 1, "r": "P551"},
    {"title": "B", "h_idx": 0, "t_idx": 1, "r": "P551"},
    {"title": "nowhere", "h_idx": 0, "t_idx": 1, "r": "P17"},
]


def test_use_10_a_submission_scores_as_by_the_official_script(tmp_path, capsys):
    gold = put(tmp_path, "dev.json", json.dumps(DOCRED))
    submission = put(tmp_path, "submission.json", json.dumps(SUBMISSION))
    # One right of three given: documents without labels and unknown titles count in the precision.
    assert run("compare", gold, f"docred:{submission}", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["docred_f1"] == pytest.approx(2 * (1 / 3) / (1 / 3 + 1))
    # The train file names her as the gold file does, with two blanks: the fact is known, and Ign F1 leaves it out.
    train = put(tmp_path, "train.json", json.dumps(DOCRED[:1]))
    command = ("evaluate", gold, "--submission", submission, "--train-annotated", train, "--json")
    assert run(*command) == 0
    scores = json.loads(capsys.readouterr().out)["docred"]
    assert scores["precision"] == pytest.approx(1 / 3)
    assert scores["f1"] == row["docred_f1"]
    assert scores["ign_f1_annotated"] == 0


def test_use_10_evaluate_scores_the_names_of_the_file_and_every_document():
    from domains.relation_extraction.data.readers.docred import docred_document
    from domains.relation_extraction.evaluation.gold import gold_of
    from domains.relation_extraction.evaluation.scores import Evaluation
    from domains.relation_extraction.model.schema import Schema

    schema = Schema.load("redocred")
    gold = gold_of((docred_document(record, "x", schema, labelled=True) for record in DOCRED), "data x")
    evaluation = Evaluation(schema)
    for one in gold:
        evaluation.add_triples(one, [[]])
    assert [one["title"] for one in evaluation.truth] == ["A", "B"]
    assert evaluation.truth[0]["vertexSet"][0][0]["name"] == "Ann  Lee"
    assert evaluation.report.to_dict(10)["documents"] == 1


BROKEN = "According to the records, Mirela\nDostan was buried in Port\n  Selmar. Few papers survive."


def test_use_11_names_across_a_line_break_are_names(tiny, tmp_path):
    triples = tiny(BROKEN, relations=("burial place",), heads=("Mirela Dostan",), pretokenize="none")
    assert [triple.key for triple in triples] == [("Mirela\nDostan", "burial place", "Port\n  Selmar")]
    assert BROKEN[triples[0].tail.start : triples[0].tail.end] == "Port\n  Selmar"
    assert {node.label for node in graph.build(triples).nodes.values()} == {"Mirela Dostan", "Port Selmar"}
    assert "  Mirela Dostan -- burial place -> Port Selmar" in str(ExtractionResult("a.txt", triples=tuple(triples)))
    triple = {"head": "Mirela Dostan", "relation": "burial place", "tail": "Port Selmar"}
    labelled = put(tmp_path, "a.jsonl", json.dumps({"text": BROKEN, "triples": [triple]}))
    prepared = ("prepare", labelled, tmp_path / "out", "--schema", "tiny")
    assert run(*prepared, "--pretokenize", "none", "--protocol", "suite-v1/D_F") == 0
    (samples,) = (tmp_path / "out").glob("*.jsonl")
    assert "['Mirela Dostan', 'burial place', 'Port Selmar']" in samples.read_text(encoding="utf-8")


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


PUBTATOR = """1|t|Alpha cures beta
1|a|In mice and rats.
1\t0\t5\tAlpha\tChemicalEntity\tD001
1\t12\t16\tbeta\tDiseaseOrPhenotypicFeature\tD002
1\t20\t24\tmice\tOrganismTaxon\t-1
1\t29\t33\trats\tOrganismTaxon\t-1
1\tNegative_Correlation\tD001\tD002\tNovel
"""


def test_use_14_pubtator_with_a_fifth_column_and_without_identifiers(tmp_path):
    from domains.relation_extraction.data.readers import read_documents

    (document,) = read_documents(put(tmp_path, "b.pubtator", PUBTATOR))
    assert [entity.names for entity in document.entities] == [("Alpha",), ("beta",), ("mice",), ("rats",)]
    assert [fact.relation for fact in document.facts] == ["Negative_Correlation"]


@pytest.mark.parametrize(
    ("relations", "message"),
    [
        (["none"], 'a relation called "none"'),
        ([" padded"], "blanks around"),
        (["built by", "built by "], "blanks around"),
        ([{"name": "a", "inverse": "nowhere"}], 'inverse "nowhere"'),
    ],
)
def test_use_15_a_relation_that_can_never_be_answered_is_refused(tmp_path, relations, message):
    from domains.relation_extraction.model.schema import Schema

    file = put(tmp_path, "odd.json", json.dumps({"name": "odd", "relations": relations}))
    with pytest.raises(InputError, match=message):
        Schema.load(file)


def test_use_18_a_schema_and_a_lowest_score_at_call_time(tiny):
    from domains.relation_extraction.model.schema import Schema

    found = tiny(BURIED)
    best = max(triple.score for triple in found)
    assert tiny(BURIED, min_score=best) == [triple for triple in found if triple.score >= best]
    whole = [triple.to_dict() for triple in tiny(BURIED, schema="tiny")]
    for given in (Schema.load("tiny"), Schema.load("tiny").to_dict(), Schema.load("tiny").to_dict()["relations"]):
        assert [triple.to_dict() for triple in tiny(BURIED, schema=given)] == whole
    asked = {"relations": ("rests in",), "heads": ("Mirela Dostan",)}
    assert {triple.relation for triple in tiny(BURIED, schema=["rests in", "fed by"], **asked)} == {"rests in"}


def test_use_18_ends_inside_each_other_state_nothing():
    from domains.relation_extraction.inference.grounding import overlapping
    from domains.relation_extraction.types import Argument, Span, Triple

    inner, outer, apart = Span(0, 4), Span(0, 12), Span(20, 24)
    one = Triple("d", Argument("Port", (inner,)), "r", Argument("Port Selmar!", (outer,)))
    assert overlapping(one)
    assert not overlapping(Triple("d", Argument("Port", (inner, apart)), "r", Argument("Port Selmar!", (outer,))))
    many = Argument("Bob", tuple(Span(start, start + 3) for start in range(0, 400_000, 4)))
    assert not overlapping(Triple("d", many, "r", many))  # 10^10 pairs are not looked at


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", "<?xml version='1.0'?><doc>Ann met Bob.</doc>", "XML"),
        ("a.conll", "Ann B-PER\nmet O\n", "CoNLL"),
    ],
)
def test_use_19_files_of_other_formats_are_no_plain_text(tmp_path, name, content, message):
    from domains.relation_extraction.data.readers import read_documents

    with pytest.raises(InputError, match=message):
        list(read_documents(put(tmp_path, name, content)))


@pytest.mark.parametrize(
    ("name", "record"),
    [
        (
            "spo.jsonl",
            {
                "text": "Ann Lee lives in Oslo.",
                "spo_list": [{"subject": "Ann Lee", "predicate": "residence", "object": {"@value": "Oslo"}}],
            },
        ),
        ("webnlg.jsonl", {"text": "Ann Lee lives in Oslo.", "triple_list": [["Ann Lee", "residence", "Oslo"]]}),
        (
            "fewrel.json",
            {
                "P551": [
                    {
                        "tokens": ["Ann", "Lee", "lives", "in", "Oslo", "."],
                        "h": ["ann lee", "Q1", [[0, 1]]],
                        "t": ["oslo", "Q2", [[4]]],
                    }
                ]
            },
        ),
        ("table.csv", 'id,text,head,relation,tail\n1,"Ann Lee lives in Oslo.",Ann Lee,residence,Oslo\n'),
    ],
)
def test_use_19_labels_of_other_data_sets_are_read(tmp_path, name, record):
    from domains.relation_extraction.data.readers import read_documents
    from domains.relation_extraction.model.schema import Schema

    content = record if isinstance(record, str) else json.dumps(record) + "\n"
    documents = list(read_documents(put(tmp_path, name, content), schema=Schema.load("redocred"), labelled=True))
    (document,) = documents
    (fact,) = document.facts
    assert (document.entities[fact.head].names, fact.relation) == (("Ann Lee",), "residence")
    assert document.entities[fact.tail].names == ("Oslo",)


def test_use_19_markdown_may_begin_with_a_bracket(tmp_path):
    from domains.relation_extraction.data.readers import read_documents

    (document,) = read_documents(put(tmp_path, "todo.md", "[ ] Ann met Bob.\n[x] Bob met Ann.\n"))
    assert document.text.startswith("[ ] Ann")


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


def test_use_21_out_that_is_a_file_and_labels_nobody_asked_about(tiny, tmp_path, capsys):
    report, taken = put(tmp_path, "report.txt", BURIED), put(tmp_path, "taken", "x")
    assert run("predict", report, "--out", taken, "--formats", "jsonl") == 2
    said = capsys.readouterr().err
    assert "is a file" in said
    assert "Traceback" not in said
    wrong = {"text": BURIED, "triples": [{"head": "Nobody", "relation": "burial place", "tail": "Port Selmar"}]}
    (result,) = tiny.predict(put(tmp_path, "a.jsonl", json.dumps(wrong)), relations=("sponsor",))
    assert result.error is None
    assert list(result.texts.values()) == [BURIED]


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    """A base with a chat template of its own, as people have them."""
    from tests.generation.small_model import llama, tokenizer

    folder = tmp_path_factory.mktemp("chat")
    llama(seed=3).save_pretrained(folder)
    words = tokenizer()
    words.chat_template = "{% for m in messages %}<user>{{ m.content }}</user>{% endfor %}<bot>"
    words.save_pretrained(folder)
    return str(folder)


def test_use_06_any_chat_model_without_an_adapter(chat_model, tmp_path):
    with pytest.raises(InputError, match="--base"):
        RelationExtractor.from_pretrained("none")
    extractor = RelationExtractor.from_pretrained("none", base=chat_model, device="cpu")
    example = {"text": "Ann lives in Oslo.", "triples": [{"head": "Ann", "relation": "residence", "tail": "Oslo"}]}
    examples = put(tmp_path, "shots.jsonl", json.dumps(example))
    asked = {"schema": ["residence", "spouse"], "max_new_tokens": 4, "batch_size": 1}
    prompts = []
    for more in ({}, {"examples": str(examples)}):
        trace = tmp_path / f"trace{len(prompts)}.jsonl"
        extractor("Bob </s> lives in Rome.", trace=trace, **asked, **more)
        seen = []
        with Session(extractor, ExtractionQuery(**asked, **more)) as session:
            call = Call("fact", "Bob </s> lives in Rome.", relations=("residence", "spouse"))
            seen = session.engine.encode(call)
        prompts.append(extractor.wording.tokenizer.decode(seen))
        assert extractor.wording.tokenizer.eos_token_id not in seen
    for prompt in prompts:
        assert prompt.startswith("<user>Document:")
        assert prompt.endswith("</user><bot>")
        assert "['residence', 'spouse']" in prompt
    assert "['Ann', 'residence', 'Oslo']" in prompts[1]
    assert "Ann" not in prompts[0]


def test_use_12_missing_files_of_peers_are_told_before_models_work(monkeypatch):
    from domains.relation_extraction.evaluation import compare

    monkeypatch.setattr(compare, "_model_row", lambda *given: pytest.fail("a model worked first"))
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file"):
        compare.compare("tiny:test:2", ("adapter:tiny", "rebel:nowhere.txt"))


def test_use_types_and_what_else_a_record_holds_come_out(tiny, tmp_path):
    schema = {"relations": [{"name": "burial place", "head_types": ["person"], "tail_types": ["port", "town"]}]}
    asked = {"relations": ("burial place",), "heads": ("Mirela Dostan",), "formats": ("jsonl",)}
    record = put(tmp_path, "a.jsonl", json.dumps({"id": "x", "text": BURIED, "source": {"page": 3}}) + "\n")
    (result,) = tiny.predict(record, out=tmp_path / "out", schema=schema, **asked)
    head, tail = (getattr(result.triples[0], end).to_dict() for end in ("head", "tail"))
    assert head["type"] == "person"
    assert "type" not in tail
    (line,) = (tmp_path / "out/a.documents.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {"source": {"page": 3}, "id": "x", "text": BURIED}


def test_use_21_one_steps_folder_is_not_all_of_them(chat_model, tmp_path):
    from tests.relation_extraction.small_bundle import save_bundle

    save_bundle(tmp_path / "three", chat_model)
    with pytest.raises(InputError, match="one of three adapters"):
        RelationExtractor.from_pretrained(str(tmp_path / "three" / "relation"), base=chat_model)


def test_use_22_a_file_in_utf_16_says_so(tmp_path):
    from domains.relation_extraction.data.readers import read_documents

    file = put(tmp_path, "a.txt", "Ann met Bob.", encoding="utf-16")
    with pytest.raises(InputError, match="--encoding utf-16"):
        list(read_documents(file))


def test_use_texts_without_end_are_streamed(tiny):
    from itertools import chain, repeat

    asked = {"heads": ("Mirela Dostan",), "relations": ("burial place",)}
    stream = tiny.stream(chain(["", BURIED], repeat("Nothing is said here.")), **asked)
    assert [len(next(stream)) for _ in range(3)][:2] == [0, 1]
    stream.close()


@pytest.mark.parametrize(("config", "share"), [("mistral_7b", "0.5848 %"), ("vicuna_7b", "0.7721 %")])
def test_use_21_the_share_that_trains_leaves_out_the_adapters_that_wait(config, share, capsys):
    file = Path(__file__).parents[2] / "configs/relation_extraction" / f"{config}.yaml"
    assert run("count", "--config", file) == 0
    assert share in capsys.readouterr().out


def test_use_22_mistakes_are_told_before_anything_heavy_is_imported(tmp_path):
    """Importing torch and peft takes seconds of processor time."""
    report = put(tmp_path, "report.txt", BURIED)
    script = f"""
import sys
from suite.cli.main import main
ask = ["relation_extraction", "predict", {str(report)!r}]
wrong = (["--formats", "jpg"], ["--aliases", "nowhere.json"], ["--schema", "nowhere.yaml"], ["--adapter", "./nowhere"])
codes = [main([*ask, *more]) for more in (*wrong, ["--relations", "no such relation"], ["--max-new-tokens", "0"])]
codes.append(main(["relation_extraction", "predict", "nowhere.txt"]))
codes.append(main(["relation_extraction", "evaluate", "nowhere.json"]))
print(codes, sorted({{"torch", "peft", "lightning"}} & set(sys.modules)))
main([*ask, "--dry-run"])
print(sorted({{"peft", "lightning", "transformers.modeling_utils"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert f"{[2] * 8} []" in lines, done.stderr
    assert lines[-1] == "[]"


def test_use_22_a_dry_run_expects_what_the_schema_and_the_text_allow(tiny):
    (one,) = tiny.predict(BURIED, dry_run=True)
    (row,) = one.plan
    assert row["calls"] <= 7  # not 41: one sentence, six relations
    assert float(row["memory"].split()[0]) < 0.1  # not 16 rows of the longest prompt
    (many,) = tiny.predict(" ".join([BURIED] * 30), dry_run=True)
    assert row["calls"] < many.plan[0]["calls"] <= 1 + 6 + 6 * 11
    (analysed,) = tiny.predict(BURIED, dry_run=True, relations=("sponsor",), heads=("Mirela Dostan",))
    assert analysed.plan[0]["calls"] == 1


def test_use_22_the_demo_is_read_by_people(tmp_path, capsys, monkeypatch):
    from suite.cli import verbs
    from suite.cli.output import Answer

    shown = {"title": "Triples", "summary": "5 of 9 found.", "text": "All of it.", "pictures": ["graph.png"]}
    monkeypatch.setattr(verbs, "run", lambda *given: Answer.of(shown))
    assert run("demo", "--out", tmp_path) == 0
    assert capsys.readouterr().out == "Triples\n\nAll of it.\n\ngraph.png\n"


def test_use_22_paradigm_and_protocol_are_one_option(tmp_path):
    text, out = put(tmp_path, "t.txt", BURIED), tmp_path / "out"
    plans = []
    for word in ("--paradigm", "--protocol"):
        plans.append(main(["relation_extraction", "predict", str(text), "--dry-run", word, "zero-shot"]))
        triple = {"head": "Mirela Dostan", "relation": "burial place", "tail": "Port Selmar"}
        labelled = put(tmp_path, "a.jsonl", json.dumps({"text": BURIED, "triples": [triple]}))
        plans.append(run("prepare", labelled, out / word.strip("-"), "--schema", "tiny", word, "D_F"))
        plans.append(run("evaluate", "tiny:test:2", "--oracle", word, "D_F"))
    assert plans == [0] * 6


WRONG_GOLD = {
    "label.json": [{**DOCRED[0], "labels": [{"r": "P551", "h": 0, "t": 9}]}],
    "unknown.json": [{**DOCRED[0], "labels": [{"h": 0}]}],
    "mention.json": [{**DOCRED[0], "vertexSet": [[{"name": "Ann", "sent_id": 7, "pos": [0, 2]}]]}],
    "hacred.json": [{"text": "Ann Lee lives in Oslo .", "vertex_char": [[{"name": "Bob"}]], "labels_char": []}],
    "offsets.pubtator": "1|t|Ann Lee lives in Oslo .\n1\t0\t3\tBob\tPerson\tD1\n",
    "identifier.pubtator": "1|t|Ann Lee lives in Oslo .\n1\t0\t7\tAnn Lee\tPerson\tD1\n1\tlives\tD1\tD9\n",
    "cdr.data": "1\tAnn Lee lives in Oslo .\t1:CID:2\ttoo few\n",
    "spo.jsonl": {"text": "Ann Lee lives in Oslo .", "spo_list": [{"subject": "Ann"}]},
    "none.jsonl": {"sentence": "Ann Lee lives in Oslo .", "relations": []},
    "she.jsonl": {"token": ["Ann", "Lee", "lives", "in", "Oslo", "."], "h": {"pos": [9, 9]}, "t": {}, "relation": "x"},
}


@pytest.mark.parametrize("name", WRONG_GOLD)
def test_use_21_wrong_gold_does_not_stop_a_prediction(name, tmp_path):
    from domains.relation_extraction.data.readers import read_documents

    content = WRONG_GOLD[name]
    file = put(tmp_path, name, content if isinstance(content, str) else json.dumps(content))
    (document,) = read_documents(file, text_only=True)
    assert document.text == "Ann Lee lives in Oslo ."
    assert len(document.entities) == {"label.json": 2, "unknown.json": 2, "identifier.pubtator": 1}.get(name, 0)
    if name not in ("none.jsonl",):  # without a label it is no document at all
        with pytest.raises(InputError):
            list(read_documents(file, labelled=True))


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


def test_use_documents_of_a_file_come_one_by_one(tiny, tmp_path):
    rows = [{"id": f"a/{number}", "text": BURIED, "page": number} for number in range(40)]
    many = put(tmp_path, "many.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    asked = {"heads": ("Mirela Dostan",), "relations": ("burial place",), "formats": ("jsonl",), "per_document": True}
    results = tiny.predict(many, out=tmp_path / "out", **asked)
    first = next(results)
    assert (first.source, list(first.texts), len(first.triples)) == (str(many), ["a/0"], 1)
    assert len(list((tmp_path / "out").glob("*.triples.jsonl"))) == 1  # on disk already
    assert len((tmp_path / "out/progress.jsonl").read_text().splitlines()) < 20  # the rest was not read yet
    rest = list(results)
    assert len(rest) == 39
    calls = sum(result.cost["calls"] for result in (first, *rest))
    assert calls == 40
    assert len(list((tmp_path / "out").glob("*.triples.jsonl"))) == 40
    (line,) = (tmp_path / "out/a_7.documents.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["page"] == 7
