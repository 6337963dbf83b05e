"""Commands run twice, resumed, with outputs in the way, with options that people mistype."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from domains.relation_extraction.types import ExtractionQuery
from suite.cli.main import main
from tests.relation_extraction.commands import BURIED, put, run

FINANCED = "Selmar Foundry was financed by Brandor Keth."


def written(folder):
    """Keys of the triples in a folder's files, by file."""
    files = sorted(Path(folder).glob("*.triples.jsonl"))
    rows = {file.name: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files}
    return {
        name: [(row["head"]["text"], row["relation"], row["tail"]["text"]) for row in all] for name, all in rows.items()
    }


def test_use_03_inputs_of_one_stem_have_files_of_their_own(tmp_path):
    first, second = put(tmp_path, "a/report.txt", BURIED), put(tmp_path, "b/Report.txt", FINANCED)
    assert run("predict", first, second, "--out", tmp_path / "out", "--formats", "jsonl") == 0
    found = written(tmp_path / "out")
    assert set(found) == {"report.triples.jsonl", "Report-2.triples.jsonl"}
    assert found["report.triples.jsonl"][0][0] == "Mirela Dostan"
    assert found["Report-2.triples.jsonl"][0][0] == "Selmar Foundry"


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


def test_use_09_a_name_with_commas_can_be_asked_for(tmp_path):
    from suite.cli.options import Parser, of_dataclass, parse

    text = put(tmp_path, "t.txt", "The Lanterns of Orvane, North was translated by Hodran Varrin.")
    options = of_dataclass(ExtractionQuery)
    given = parse(Parser("p", options), options, ["--heads", '"The Lanterns of Orvane, North",Ada', "--heads", "Bob"])
    assert given["heads"] == ("The Lanterns of Orvane, North", "Ada", "Bob")
    command = ("predict", text, "--heads", '"The Lanterns of Orvane, North"', "--relations", "translator")
    assert run(*command, "--out", tmp_path / "out", "--formats", "jsonl") == 0
    assert written(tmp_path / "out")["t.triples.jsonl"][0][0] == "The Lanterns of Orvane, North"


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
