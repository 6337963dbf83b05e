"""Bad input: one line that says what, where and what to do; the exit code that the documentation names."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sys

import pytest

from domains.code_review.inference.session import Session, Written
from suite.cli.main import main
from tests.code_review import small
from tests.code_review.test_review import check_sarif

GOOD = "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n a = 1\n-b = 2\n+b = 3\n"


def asked(monkeypatch, raw: bytes, verb: str, *words: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    model = small.words() if verb == "predict" else []
    return main(["code_review", verb, "-", *model, *words])


@pytest.mark.parametrize("verb", ["review", "predict"])
@pytest.mark.parametrize("raw", [b"", b" \n\t\n\r\n"])
def test_nothing_to_review_is_done_and_valid(monkeypatch, capsys, verb, raw):
    assert asked(monkeypatch, raw, verb, "--format", "sarif") == 0
    check_sarif(json.loads(capsys.readouterr().out))
    assert asked(monkeypatch, raw, verb) == 0
    assert "no changes to review" in capsys.readouterr().out


WRONG = [
    (b"Dear reviewer,\nplease look.\n", "line 1: expected 'diff --git', '---' or '@@'"),
    (b'{"message": "Not Found"}\n', "line 1: expected 'diff --git', '---' or '@@'"),
    (b"<html><h1>502 \x1b[31mBad Gateway</h1></html>\n", "\\x1b[31mBad"),
    (GOOD.replace("-1,2 +1,2", "-1,3 +1,3").encode(), "announces 3 old and 3 new lines"),
    (GOOD.replace("-1,2 +1,2", "-1,1 +1,1").encode(), "hunk 1 goes on behind the lines that its header announces"),
    (GOOD.replace("-1,2 +1,2", "-1,2 +1,1000000000000").encode(), "has a line number above"),
    (GOOD.replace("-1,2 +1,2", "--1,2 +1,2").encode(), "line 3"),
    (b"GIF89a\x00\x01\x02\xff\xfe", "this is no diff"),
]


@pytest.mark.parametrize("verb", ["review", "predict"])
@pytest.mark.parametrize(("raw", "said"), WRONG)
def test_what_is_no_diff_is_one_line_and_exit_code_2(monkeypatch, capsys, verb, raw, said):
    assert asked(monkeypatch, raw, verb) == 2
    err = capsys.readouterr().err.strip().split("\r")[-1]
    assert said in err and "\n" not in err and "\x1b" not in err and "Traceback" not in err


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "C:\\windows\\x.py", "a/../../x.py", "\\\\server\\x.py"]
)
def test_paths_outside_the_tree_are_neither_opened_nor_patched(monkeypatch, capsys, tmp_path, path):
    monkeypatch.setattr(Session, "chances", lambda self, prompts: [0.9] * len(prompts))
    monkeypatch.setattr(
        Session, "written", lambda self, task, prompts, most=None: [Written("a = 9", -1.0, True)] * len(prompts)
    )
    raw = GOOD.replace("a/x.py", path).replace("b/x.py", path).encode()
    assert asked(monkeypatch, raw, "predict", "--format", "json", "--out", str(tmp_path / "out")) == 0
    [finding] = json.loads((tmp_path / "out" / "review.json").read_text())["findings"]
    assert finding["path"] == path and finding["suggestion"] is None
    assert not (tmp_path / "out" / "review.patch").exists()


@pytest.mark.parametrize(
    "text", ["\x1b[2J\x1b[31mgone", "a\x00b\x07c \u202e right to left", "@team ![x](http://a.b) <script>"]
)
def test_what_a_model_writes_reaches_no_terminal_and_no_page_as_code(monkeypatch, capsys, text):
    monkeypatch.setattr(Session, "chances", lambda self, prompts: [0.9] * len(prompts))
    monkeypatch.setattr(
        Session, "written", lambda self, task, prompts, most=None: [Written(text, -1.0, True)] * len(prompts)
    )
    for form in ("text", "markdown", "html", "github"):
        assert asked(monkeypatch, GOOD.encode(), "predict", "--format", form, "--no-suggest") == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out and "\x00" not in out and "\x07" not in out
        assert form == "text" or "<script>" not in out
        if form in ("markdown", "github"):
            assert "@team" not in out and "![x](http" not in out


def test_bytes_that_are_no_utf8_are_marked_in_json_and_kept_in_patches(monkeypatch, capsys):
    raw = GOOD.encode().replace(b"b = 3", b"b = '\xe9'  # TODO")
    assert asked(monkeypatch, raw, "review", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["findings"]


@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_an_adapter_that_is_a_pickle_runs_nothing(monkeypatch, capsys, tmp_path, kind):
    import torch

    marker = tmp_path / "ran"
    folder = tmp_path / "adapter"
    shutil.copytree(small.home() / "adapter" / "necessity", folder)
    (folder / "adapter_model.safetensors").unlink()

    class Hostile:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    file = folder / "adapter_model.bin"
    if kind == "pickle":
        file.write_bytes(pickle.dumps({"w": Hostile()}))
    else:
        torch.save({"w": Hostile()}, file)
    words = ["--necessity", str(folder), "--base", str(small.home() / "base")]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert main(["code_review", "predict", "-", *words]) == 2
    assert not marker.exists() and "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--threshold", "1.5", "threshold is 1.5"),
        ("--threshold", "much", "much"),
        ("--max-comments", "-1", "max_comments is -1"),
        ("--batch-size", "0", "batch_size is 0"),
        ("--format", "docx", "docx"),
        ("--anchor", "here", "here"),
        ("--adapter", "org/name", "org/name"),
        ("--adapter", "./absent", "absent"),
    ],
)
def test_a_wrong_option_is_named(monkeypatch, capsys, option, value, said):
    words = small.words()
    if option in words:
        words[words.index(option) + 1] = value
    else:
        words += [option, value]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert main(["code_review", "predict", "-", *words]) == 2
    err = capsys.readouterr().err.strip().split("\r")[-1]
    assert said in err and "Traceback" not in err


def test_no_input_and_a_missing_file_are_told(tmp_path, capsys):
    assert main(["code_review", "predict"]) == 2
    assert main(["code_review", "predict", str(tmp_path / "absent.diff"), *small.words()]) == 2
    assert "absent.diff" in capsys.readouterr().err


SAVED = [
    {"filename": "a.py", "status": "modified", "patch": "@@ -1,2 +1,2 @@\n a = 1\n-b = 2\n+b = eval(x)"},
    {"filename": "new file.py", "status": "added", "patch": "@@ -0,0 +1 @@\n+breakpoint()"},
    {"filename": "gone.py", "status": "removed", "patch": "@@ -1 +0,0 @@\n-x = 1"},
    {"filename": "b.py", "previous_filename": "old.py", "status": "renamed"},
    {"filename": "logo.png", "status": "modified"},
]


def test_a_saved_answer_about_a_pull_request_is_a_diff(monkeypatch, capsys, tmp_path):
    file = tmp_path / "files.json"
    file.write_text(json.dumps(SAVED))
    assert main(["code_review", "review", str(file), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {(one["path"], one["line"]) for one in told["findings"]} == {("a.py", 2), ("new file.py", 1)}
    assert told["files"] == 5 and set(told["passed_over"]) == {"b.py", "logo.png"}


@pytest.mark.parametrize("broken", [{"filename": 3}, {"filename": "a", "status": "odd"}, {"filename": "a", "patch": 3}])
def test_a_broken_saved_answer_is_named(monkeypatch, capsys, broken):
    assert asked(monkeypatch, json.dumps([SAVED[0], broken]).encode(), "review") == 2
    assert "file 2 of the saved answer" in capsys.readouterr().err
