"""What users ran into, by the number of the line that told it. Each test makes its own input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domains.relation_extraction import RelationExtractor
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
    ],
)
def test_use_12_options_are_checked_before_anything_is_done(tiny, options, message):
    with pytest.raises(InputError, match=message):
        tiny.batch([], **options)
