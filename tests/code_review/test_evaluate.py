"""The verb `evaluate`: every figure by its full name, from a model, a file of answers, or the nearest neighbour."""

from __future__ import annotations

import json

import pytest

from domains.code_review import metrics
from domains.code_review.data.examples import Example, hunk_of
from domains.code_review.evaluation.retrieval import Nearest
from domains.code_review.evaluation.scoring import Answered, decided, judged
from suite.cli.main import main
from tests.code_review import small

PATCH = "@@ -1,3 +1,3 @@\n a = 1\n-b = 2\n+b = 3\n c = 4"


def told(capsys, *words: str) -> dict:
    assert main(["code_review", "evaluate", *words, "--resamples", "50", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def model() -> list[str]:
    place = small.home()
    return ["--adapter", str(place / "adapter"), "--base", str(place / "base"), "--max-new-tokens", "8"]


@pytest.mark.parametrize("task", ["necessity", "comment", "refinement"])
def test_an_adapter_is_scored_with_everything_in_its_folder(task, capsys, tmp_path):
    found = told(capsys, "world:test:6", "--task", task, *model(), "--out", str(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == found["n"] == 6 and all(row["prompt"] and "gold" in row for row in rows)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored["n_cut"] == 0 and (tmp_path / "report.html").is_file() and (tmp_path / "per_language.csv").is_file()
    if task == "necessity":
        assert {"precision", "recall", "f1-score", "auroc", "macro_f1", "confusion", "n_unparsed"} <= set(stored)
        assert (tmp_path / "precision_recall.png").is_file()
        levels = [line.split(",") for line in (tmp_path / "thresholds.csv").read_text().splitlines()[1:]]
        recalls = [float(row[2]) for row in levels]
        assert recalls == sorted(recalls, reverse=True), "recall only falls as the threshold rises"
    else:
        names = {"bleu_smooth_sentence", "bleu_smooth_sentence (stop words removed)", "bleu_chars", "sacrebleu"}
        assert names | {"bleu_corpus_smooth", "bleu_smooth_sentence_interval"} <= set(stored)
        assert (tmp_path / "bleu.png").is_file()
        assert ("exact match" in stored, "codebleu" in stored) == (task == "refinement",) * 2


def test_the_frozen_base_is_asked_without_its_adapters(capsys):
    with_them = told(capsys, "world:test:6", *model())
    alone = told(capsys, "world:test:6", *model(), "--frozen")
    assert alone["auroc"] != with_them["auroc"] or alone["f1-score"] != with_them["f1-score"]


def test_words_that_decide_nothing_are_counted_and_score_as_no(capsys):
    found = told(capsys, "world:test:6", *model(), "--decode")
    assert found["n_unparsed"] == 6 and found["recall"] == 0.0


@pytest.mark.parametrize(
    ("text", "decision"),
    [("yes", "yes"), (" Yes.\n", "yes"), ("NO, never", "no"), ("maybe", ""), ("", ""), ("yess", "")],
)
def test_a_decision_is_the_first_word(text, decision):
    assert decided(text) == decision


def test_answers_are_matched_by_id_and_not_by_place(tmp_path, capsys):
    data = small.records(tmp_path / "msg.jsonl", [{"id": n, "patch": PATCH, "msg": f"use {n}"} for n in range(3)])
    answers = small.records(tmp_path / "out.jsonl", [{"id": n, "prediction": f"use {n}"} for n in (2, 0, 1)])
    found = told(capsys, str(data), "--task", "comment", "--predictions", str(answers))
    assert found["bleu_smooth_sentence"] == 100.0


def test_the_published_pair_of_line_files_is_scored(tmp_path, capsys):
    (tmp_path / "preds.txt").write_text("fix this\n\n")
    (tmp_path / "golds.txt").write_text("fix this\nthat\n")
    words = [str(tmp_path / "golds.txt"), "--task", "comment", "--predictions", str(tmp_path / "preds.txt")]
    found = told(capsys, *words)
    # An empty answer to one word scores 100 exp(-1).
    assert found["bleu_smooth_sentence"] == pytest.approx((100 + 36.79) / 2, abs=0.01)
    assert found["bleu_smooth_sentence"] == metrics.bleu_smooth_sentence(["fix this", ""], ["fix this", "that"])


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{"id": 0, "prediction": "a"}], "no answer to 1 of 2 cases"),
        ([{"id": 7, "prediction": "a"}], "id '7' is no case"),
        ([{"prediction": "a"}], "the key 'id' is missing"),
        ([{"id": 0}], "the key 'prediction' is missing"),
        ([{"id": 0, "prediction": "a", "chance": "high"}], "'chance' is"),
    ],
)
def test_answers_that_do_not_go_with_the_data_are_refused(tmp_path, capsys, answers, said):
    data = small.records(tmp_path / "msg.jsonl", [{"id": n, "patch": PATCH, "msg": "a"} for n in range(2)])
    file = small.records(tmp_path / "out.jsonl", answers)
    words = ["code_review", "evaluate", str(data), "--task", "comment", "--predictions", str(file)]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_files_of_lines_must_be_of_one_length(tmp_path, capsys):
    (tmp_path / "preds.txt").write_text("a\nb\n")
    (tmp_path / "golds.txt").write_text("a\n")
    words = [str(tmp_path / "golds.txt"), "--task", "comment", "--predictions", str(tmp_path / "preds.txt")]
    assert main(["code_review", "evaluate", *words]) == 2
    assert "has 2 lines" in capsys.readouterr().err


def test_the_nearest_neighbour_repeats_the_comment_of_the_likest_change():
    def case(line: str, said: str) -> Example:
        return Example(said, "comment", said, hunk=hunk_of(f"@@ -1,1 +1,1 @@\n-x = 0\n+{line}"))

    known = [case("open(path)", "Close it."), case("except Exception:", "Too broad."), case("x == None", "Use is.")]
    asked = [case("return y == None", ""), case("    except Exception as error:", "")]
    assert Nearest(known).comments(asked) == ["Use is.", "Too broad."]


def test_a_figure_of_the_neighbours_needs_no_model(tmp_path, capsys):
    found = told(capsys, "world:test:20", "--task", "comment", "--nearest", "world:train:200")
    assert found["n"] == 20 and found["bleu_smooth_sentence"] > 10


def test_languages_are_told_apart():
    cases = [Example(str(n), "comment", "same", hunk=hunk_of(PATCH), language=("go", "java")[n % 2]) for n in range(4)]
    answers = [Answered(case, "same" if case.language == "go" else "") for case in cases]
    found = {row["language"]: row["bleu_smooth_sentence"] for row in judged("comment", answers, resamples=10).languages}
    assert found["go"] == 100.0 and found["java"] < 40


def test_the_area_under_the_curve_counts_ties_half():
    assert metrics.auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert metrics.auroc([0, 1], [0.5, 0.5]) == 0.5
    assert metrics.auroc([1, 1], [0.1, 0.9]) == 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--limit", "-3"), "limit is -3; give 1 or more"),
        (("--limit", "0"), "limit is 0; give 1 or more"),
        (("--resamples", "-1"), "resamples is -1; give 0 or more"),
        (("--skip-bad", "-1"), "skip_bad is -1; give 0 or more"),
        (("--threshold", "3"), "threshold is 3.0; give a number from 0 to 1"),
        (("--frozen",), "--predictions are answers that are there: leave --frozen out"),
        (("--nearest", "world:train"), "--predictions are answers that are there: leave --nearest out"),
        (("--out", "a.txt"), "a.txt: is a file; give a folder for the results"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line_before_anything_is_read(tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("")
    given = ["code_review", "evaluate", "absent.jsonl", "--task", "necessity", "--predictions", "absent.jsonl", *words]
    assert main(given) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_neighbours_are_told_apart_from_what_a_model_is_asked(capsys):
    assert main(["code_review", "evaluate", "world:test:2", "--nearest", "world:train:2", "--decode"]) == 2
    assert "--nearest asks no model: leave --decode out" in capsys.readouterr().err


def test_no_resamples_give_no_width():
    assert metrics.bootstrap([0.0, 1.0, 1.0, 0.0], resamples=0) == (0.5, 0.5)
