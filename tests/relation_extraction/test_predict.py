from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from domains.relation_extraction import DOMAIN
from domains.relation_extraction.model.bundle import find_bundle
from domains.relation_extraction.model.calls import STEPS
from domains.relation_extraction.predict import RelationExtractor
from domains.relation_extraction.types import ExtractionQuery
from suite import adapters
from suite.cli.predict import run
from suite.errors import InputError
from tests.generation.small_model import llama, tokenizer
from tests.relation_extraction.small_bundle import SCHEMA, save_bundle

TEXT = "Marie Curie was born in Warsaw, Poland, and married Pierre Curie in 1895. Łódź and 東京都 honour her."
SHORT = {"max_new_tokens": 48, "max_heads": 2, "max_triples": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    llama(seed=3).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    save_bundle(folder, base)
    return folder


@pytest.fixture(scope="module")
def extractor(base, bundle):
    return RelationExtractor.from_pretrained(str(bundle), base=str(base), device="cpu")


def test_text_to_triples_with_exact_spans(extractor):
    triples = extractor(TEXT, **SHORT)
    assert triples
    for triple in triples:
        assert triple.relation in SCHEMA
        assert triple.pid == SCHEMA[triple.relation].pid
        assert 0 < triple.score <= 1
        for argument in (triple.head, triple.tail):
            assert argument.mentions
            assert all(TEXT[span.start : span.end] == argument.text for span in argument.mentions)
        assert triple.source.protocol == "suite-v1/D_R_H_F_desc"


def test_batch_equals_one_by_one(extractor):
    other = "Anna speaks Polish. She married Bob in Rome."
    together = extractor.batch([TEXT, other], **SHORT)
    alone = [extractor(text, **SHORT) for text in (TEXT, other)]
    assert [[triple.key for triple in part] for part in together] == [[t.key for t in part] for part in alone]


def test_acceptance_13_8_predictions_are_those_of_the_reference(extractor):
    keys = {
        backend: [triple.key for triple in extractor(TEXT, backend=backend, **SHORT)]
        for backend in ("sequential", "batched", "prefix")
    }
    assert keys["sequential"] == keys["batched"] == keys["prefix"] != []


def test_acceptance_13_10_every_kind_of_input(extractor, tmp_path, monkeypatch):
    text, lines, docred = tmp_path / "report.txt", tmp_path / "many.jsonl", tmp_path / "docred.json"
    text.write_text(TEXT, encoding="utf-8")
    lines.write_text("".join(json.dumps({"id": name, "text": TEXT}) + "\n" for name in "ab"), encoding="utf-8")
    docred.write_text(
        json.dumps([{"title": "T", "sents": [["Ann", "met", "Bob", "."]], "vertexSet": [], "labels": []}])
    )
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(TEXT.encode())))
    results = list(extractor.predict([text, lines, docred, "-", TEXT], **SHORT))
    assert [result.source for result in results] == [str(text), str(lines), str(docred), "stdin", "text"]
    assert [list(result.texts) for result in results] == [["report"], ["a", "b"], ["T"], ["stdin"], ["text"]]
    for result in results:
        assert result.error is None
        for triple in result.triples:
            whole = result.texts[triple.doc_id]
            assert whole[triple.head.start : triple.head.end] == triple.head.text
            assert whole[triple.tail.start : triple.tail.end] == triple.tail.text
    files = results[1].save(tmp_path / "out")
    written = [json.loads(line) for line in (tmp_path / "out" / "many.triples.jsonl").read_text().splitlines()]
    assert len(written) == len(results[1].triples)
    assert {file.suffix for file in files} == {".jsonl", ".csv", ".html", ".png"}


def test_a_bad_input_does_not_stop_the_others(extractor, tmp_path):
    lines = tmp_path / "mixed.jsonl"
    lines.write_text('{"text": "Ann met Bob."}\nnot json\n{"text": ""}\n{"text": "Bob met Ann."}\n')
    good, *bad = extractor.predict([lines, tmp_path / "missing.txt"], **SHORT)
    assert len(good.texts) == 2
    assert [result.source for result in bad] == [str(lines)] * 2 + [str(tmp_path / "missing.txt")]
    assert bad[0].error.startswith("line 2") and bad[1].error.startswith("line 3")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "page.html").write_text("<html><body>x</body></html>")
    [page] = extractor.predict(tmp_path / "notes", **SHORT)
    assert page.error.startswith("page.html: HTML is not read")
    assert all("\n" not in result.error for result in bad)


def test_relations_and_heads_skip_their_steps(extractor):
    trace = [triple for triple in extractor(TEXT, relations=("P26",), heads=("Marie Curie",), **SHORT)]
    assert {(triple.head.text, triple.relation) for triple in trace} <= {("Marie Curie", "spouse")}
    result = next(extractor.predict(TEXT, relations=("spouse",), heads=("Marie Curie",), **SHORT))
    assert result.cost["calls"] == 1
    with pytest.raises(InputError, match="loves"):
        extractor(TEXT, relations=("loves",))


def test_commas_of_relation_names_survive_the_command_line(extractor):
    asked = ("spouse", "languages spoken", "written or signed")  # as a command line splits it
    result = next(extractor.predict(TEXT, relations=asked, **SHORT))
    assert result.cost["calls"] > 0
    assert {triple.relation for triple in result.triples} <= {"spouse", "languages spoken, written or signed"}


def test_long_documents_are_cut_into_chunks(extractor, tmp_path):
    sentence = "Marie Curie was born in Warsaw, Poland, and married Pierre Curie in 1895. "
    trace = tmp_path / "trace.jsonl"
    long = sentence * 120
    triples = extractor(long, max_length=250, trace=trace, **SHORT)
    assert len({json.loads(line)["chunk"] for line in trace.read_text().splitlines()}) > 1
    assert any(len(triple.source.chunks) > 1 for triple in triples)
    assert len({triple.key for triple in triples}) == len(triples)
    for triple in triples:
        assert all(long[span.start : span.end] == triple.head.text for span in triple.head.mentions)
        assert len(triple.head.mentions) == 120


def test_trace_holds_every_call(extractor, tmp_path):
    result = next(extractor.predict(TEXT, trace=tmp_path / "trace.jsonl", **SHORT))
    records = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]
    assert len(records) == result.cost["calls"]
    assert [record["step"] for record in records] == sorted((r["step"] for r in records), key=STEPS.index)
    assert all(isinstance(record["generation"], str) for record in records)


def test_dry_run_generates_nothing(base, bundle, tmp_path):
    fresh = RelationExtractor.from_pretrained(str(bundle), base=str(base), device="cpu")
    (result,) = fresh.predict(TEXT, dry_run=True)
    (row,) = result.plan
    assert (row["document"], row["chunks"]) == ("text", 1)
    assert row["calls"] == 1 + 3 + 3  # of the three relations that there are
    assert row["tokens"] > 20
    assert "model" not in vars(fresh)
    assert result.save(tmp_path) == []
    (tmp_path / "text.txt").write_text(TEXT)
    words = ["--dry-run", "--adapter", str(bundle), "--base", str(base), "--out", str(tmp_path / "out")]
    assert run(DOMAIN, [str(tmp_path / "text.txt"), *words]).message == "1 done"
    assert not (tmp_path / "out").exists()


def test_resume_asks_only_what_is_missing(extractor, tmp_path):
    lines = tmp_path / "two.jsonl"
    lines.write_text(json.dumps({"id": "a", "text": TEXT}) + "\n", encoding="utf-8")
    (first,) = extractor.predict(lines, out=tmp_path / "out", **SHORT)
    with lines.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "b", "text": "Ann met Bob."}) + "\n")
    with (tmp_path / "out" / "progress.jsonl").open("a") as file:
        file.write('{"key": "cut o')  # the run was killed while it wrote
    (second,) = extractor.predict(lines, resume=tmp_path / "out", **SHORT)
    assert [t for t in second.triples if t.doc_id == "a"] == list(first.triples)
    assert list(second.texts) == ["a", "b"]
    asked = second.cost["calls"]
    (third,) = extractor.predict(lines, resume=tmp_path / "out", **SHORT)
    (whole,) = extractor.predict(lines, **SHORT)
    assert asked == whole.cost["calls"] - first.cost["calls"] > 0
    assert [triple.key for triple in second.triples] == [triple.key for triple in whole.triples]
    assert third.cost == {}
    assert third.triples == second.triples
    (other,) = extractor.predict(lines, resume=tmp_path / "out", **{**SHORT, "max_triples": 1})
    assert other.cost["calls"] > 0  # other options may give other triples


def test_results_are_on_disk_when_they_are_seen(extractor, tmp_path):
    for name, text in (("a.txt", "Ann met Bob."), ("b.txt", ""), ("c.txt", "Tom met Ann.")):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text(text)
    out, seen = tmp_path / "out", []
    inputs = [tmp_path / "in" / name for name in ("a.txt", "b.txt", "c.txt")]
    for result in extractor.predict(inputs, out=str(out), formats=("jsonl",), **SHORT):
        seen.append(sorted(file.name for file in out.glob("*.triples.jsonl")))
        assert (result.error is None) == (Path(result.source).name != "b.txt")
    assert seen == [["a.triples.jsonl"], ["a.triples.jsonl"], ["a.triples.jsonl", "c.triples.jsonl"]]
    assert len((out / "progress.jsonl").read_text().splitlines()) == 2


def test_changed_text_is_asked_again(extractor, tmp_path):
    lines = tmp_path / "one.jsonl"
    for text in ("Ann met Bob.", "Ann met Tom."):
        lines.write_text(json.dumps({"id": "a", "text": text}) + "\n")
        (result,) = extractor.predict(lines, resume=tmp_path / "out", **SHORT)
        assert result.cost["calls"] > 0


def test_zero_shot_asks_the_bare_base(extractor, base):
    result = next(extractor.predict(TEXT, paradigm="zero-shot", max_new_tokens=8))
    assert result.cost["calls"] == 1
    assert extractor(TEXT, **SHORT)  # the adapters are on again
    with pytest.raises(InputError, match=r"trained with protocol suite-v1/D_R_H_F_desc, not suite-v1/D_F"):
        extractor(TEXT, paradigm="D_F")


TEMPLATES = {"answers": {"relation": "R {s}", "subject": "H {s} {r}", "fact": "F {s} {r} {h}"}}


def test_a_wording_that_is_not_shipped_is_the_users(base, tmp_path):
    save_bundle(tmp_path / "bundle", base, protocol="autore-official/D_R_H_F_desc_chinese")
    asked = RelationExtractor.from_pretrained(str(tmp_path / "bundle"), base=str(base), device="cpu")
    with pytest.raises(InputError, match="give --protocol-templates FILE"):
        next(asked.predict(TEXT, dry_run=True))
    file = tmp_path / "templates.json"
    file.write_text(json.dumps(TEMPLATES))
    assert next(asked.predict(TEXT, protocol_templates=file, relations=("spouse",), **SHORT)).cost["calls"] >= 1
    manifest = json.loads((tmp_path / "bundle" / "suite.json").read_text())
    manifest["domain"]["protocol_templates"] = TEMPLATES
    (tmp_path / "bundle" / "suite.json").write_text(json.dumps(manifest))
    remembered = RelationExtractor.from_pretrained(str(tmp_path / "bundle"), base=str(base), device="cpu")
    assert next(remembered.predict(TEXT, dry_run=True)).plan


def test_an_adapter_that_states_no_protocol_is_asked_as_the_user_says(base, tmp_path):
    save_bundle(tmp_path / "bundle", base, layout="single")
    (tmp_path / "bundle" / "suite.json").unlink()
    config = tmp_path / "bundle" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "mistral"}))
    extractor = RelationExtractor.from_pretrained(str(tmp_path / "bundle"), base=str(base), device="cpu")
    calls = {
        paradigm: next(extractor.predict(TEXT, paradigm=paradigm, dry_run=True)).plan[0]["calls"]
        for paradigm in (None, "D_F", "autore-official/D_R_F")
    }
    assert calls == {None: 1 + 3 + 3, "D_F": 1, "autore-official/D_R_F": 1 + 3}  # of two sentences


def test_single_adapter_bundle(base, tmp_path):
    save_bundle(tmp_path, base, layout="single", protocol="suite-v1/D_R_F")
    single = RelationExtractor.from_pretrained(str(tmp_path), base=str(base), device="cpu")
    triples = single(TEXT, **SHORT)
    assert triples
    assert {triple.source.protocol for triple in triples} == {"suite-v1/D_R_F"}


def test_limits_are_said(extractor):
    result = next(extractor.predict(TEXT, max_relations=1, max_new_tokens=120))
    assert any("--max-relations" in notice for notice in result.notices)
    (refused,) = extractor.predict("Ann met Bob in Rome.", max_characters=5)
    assert "--max-characters 5" in refused.error


def test_what_does_not_fit_is_refused(base, bundle, tmp_path):
    llama(seed=9).save_pretrained(tmp_path / "other")
    tokenizer().save_pretrained(tmp_path / "other")
    wrong = RelationExtractor.from_pretrained(str(bundle), base=str(tmp_path / "other"), device="cpu")
    with pytest.raises(InputError, match="trained on"), adapters.strict_bases():
        wrong("Ann met Bob in Rome.")
    with pytest.raises(InputError, match="does not name its base"):
        RelationExtractor.from_pretrained(str(bundle))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU"):
            RelationExtractor.from_pretrained(str(bundle), base=str(base), device="cuda")
    with pytest.raises(InputError, match="dtype 'int3'"):
        RelationExtractor.from_pretrained(str(bundle), base=str(base), dtype="int3")
    with pytest.raises(InputError, match=r"text.txt/trace.jsonl: cannot be written"):
        (tmp_path / "text.txt").touch()
        list(wrong.predict(TEXT, trace=tmp_path / "text.txt" / "trace.jsonl"))
    with pytest.raises(InputError, match="max-length"):
        RelationExtractor.from_pretrained(str(bundle), base=str(base), device="cpu")(TEXT, max_length=5000)


def test_memory_estimate_counts_base_adapters_and_cache(extractor, base):
    estimate = extractor.estimate()
    assert estimate.base == sum(p.numel() * 4 for p in llama(seed=3).parameters())
    files = [file.stat().st_size for file in find_bundle(extractor.bundle.root).root.rglob("adapter_model.safetensors")]
    assert estimate.adapters == sum(files)
    assert estimate.cache == 2 * 2 * 2 * 8 * 4  # keys and values, layers, heads, their size, fp32
    assert estimate.total(100, 4) == estimate.base + estimate.adapters + 400 * estimate.cache


def test_retries_sample_anew(extractor):
    """Strict reading of unconstrained noise drops every line; each retry asks once more."""
    once = next(extractor.predict(TEXT, constrained=False, mode="strict", **SHORT))
    again = next(extractor.predict(TEXT, constrained=False, mode="strict", max_retries=2, **SHORT))
    assert again.cost["calls"] >= once.cost["calls"] + 2


def test_query_is_what_the_command_line_offers():
    assert ExtractionQuery().backend == "prefix"
    assert ExtractionQuery.__doc__ is not None
    documented = ExtractionQuery.__doc__
    assert all(f"        {name}: " in documented for name in ExtractionQuery.__dataclass_fields__)
