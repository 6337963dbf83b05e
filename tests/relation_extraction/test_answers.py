"""What an extractor answers: spans, names, scores, texts without end."""

from __future__ import annotations

import json

import pytest

from domains.relation_extraction.output import graph
from domains.relation_extraction.output.result import ExtractionResult
from domains.relation_extraction.types import ExtractionQuery
from suite.errors import InputError
from tests.relation_extraction.commands import BURIED, put, run


def test_use_02_one_name_is_one_name_not_its_letters(tiny):
    asked = [triple.key for triple in tiny(BURIED, heads="Mirela Dostan", relations="burial place")]
    assert asked == [("Mirela Dostan", "burial place", "Port Selmar")]
    assert ExtractionQuery(formats="csv", heads=["a", "b"]).heads == ("a", "b")


def test_one_text_is_one_text_and_what_is_none_is_one_line(tiny):
    assert len(tiny.batch(BURIED)) == 1
    for wrong in (None, 5, b"bytes"):
        with pytest.raises(InputError, match="a document is a string, not"):
            tiny(wrong)


def test_use_04_the_span_is_the_mention_that_states_the_fact(tiny):
    text = "Port Selmar Foundry was financed by Brandor Keth. Mirela Dostan was buried in Port Selmar."
    (triple,) = tiny(text, heads=("Mirela Dostan",), relations=("burial place",))
    assert triple.key == ("Mirela Dostan", "burial place", "Port Selmar")
    assert (triple.tail.start, triple.tail.end) == (text.rindex("Port Selmar"), len(text) - 1)
    assert triple.evidence == (1,)
    again = type(triple).from_dict(json.loads(json.dumps(triple.to_dict())))
    assert again == triple


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
        ({"relations": ()}, "relations names none"),
        ({"heads": []}, "heads names none"),
        ({"min_score": 2}, "a score is a probability"),
        ({"min_score": float("nan")}, "min_score is nan"),
        ({"examples": "nowhere.jsonl", "paradigm": "zero-shot"}, "nowhere.jsonl"),
    ],
)
def test_use_12_options_are_checked_before_anything_is_done(tiny, options, message):
    with pytest.raises(InputError, match=message):
        tiny.batch([], **options)


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


def test_use_texts_without_end_are_streamed(tiny):
    from itertools import chain, repeat

    asked = {"heads": ("Mirela Dostan",), "relations": ("burial place",)}
    stream = tiny.stream(chain(["", BURIED], repeat("Nothing is said here.")), **asked)
    assert [len(next(stream)) for _ in range(3)][:2] == [0, 1]
    stream.close()


def test_use_22_a_dry_run_expects_what_the_schema_and_the_text_allow(tiny):
    (one,) = tiny.predict(BURIED, dry_run=True)
    (row,) = one.plan
    assert row["calls"] <= 7  # not 41: one sentence, six relations
    assert float(row["memory"].split()[0]) < 0.1  # not 16 rows of the longest prompt
    (many,) = tiny.predict(" ".join([BURIED] * 30), dry_run=True)
    assert row["calls"] < many.plan[0]["calls"] <= 1 + 6 + 6 * 11
    (analysed,) = tiny.predict(BURIED, dry_run=True, relations=("sponsor",), heads=("Mirela Dostan",))
    assert analysed.plan[0]["calls"] == 1


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
