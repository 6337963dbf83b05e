"""The verb `review`: findings by rules, in every format, from files, work trees and standard input."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from domains.code_review import RuleReviewer, parse_diff
from domains.code_review.output import formats
from suite.cli.main import main
from tests.code_review import changes, small

OLD = b"import os\n\n\ndef f(x):\n    return x\n"
NEW = (
    OLD
    + b"""

def load(path, seen=[]):
    try:
        os.system("cat " + path)  # TODO: quote
    except:
        print("failed", path)
    password = "hunter2hunter2"
"""
)


@pytest.fixture
def tree(tmp_path) -> Path:
    """Renames, deletions, CRLF, bytes that are no UTF-8 and a binary file, all changed."""
    folder = changes.repository(
        tmp_path / "tree",
        {
            "src/a b.py": OLD,
            "gone.py": b"x = 1\nprint(x)\n",
            "old.py": b"".join(b"line %d\n" % n for n in range(30)),
            "crlf.py": b"a = 1\r\nb = 2\r\n",
            "latin.py": b"# caf\xe9\nx = 1\n",
            "data.bin": bytes(range(256)),
        },
    )
    (folder / "gone.py").unlink()
    (folder / "old.py").rename(folder / "moved.py")
    added = {"src/a b.py": NEW, "crlf.py": b"a = 1\r\nif a == None:\r\n    pass\r\n", "data.bin": b"\0" * 300}
    added["moved.py"] = (folder / "moved.py").read_bytes() + b"eval(input())\n"
    added["latin.py"] = b"# caf\xe8\nx = 1\nbreakpoint()\n"
    changes.write(folder, added)
    changes.git(folder, "add", "-A")
    changes.git(folder, "commit", "-q", "-m", "second")
    return folder


def test_rules_find_what_they_name(tree):
    [result] = RuleReviewer().review(tree, range="HEAD~1..HEAD")
    found = {(one.path, one.line, one.rule.rpartition("/")[2]) for one in result.findings}
    assert found >= {
        ("src/a b.py", 8, "mutable-default"),
        ("src/a b.py", 10, "shell"),
        ("src/a b.py", 10, "unfinished"),
        ("src/a b.py", 11, "broad-except"),
        ("src/a b.py", 12, "debug-print"),
        ("src/a b.py", 13, "secret"),
        ("crlf.py", 2, "none-by-equality"),
        ("moved.py", 31, "evaluation"),
        ("latin.py", 3, "debug-print"),
    }
    assert result.passed_over == {"data.bin": "binary"}
    assert result.commit == changes.git(tree, "rev-parse", "HEAD").stdout.decode().strip()


def test_sarif_names_lines_of_the_new_files_and_is_the_same_twice(tree):
    [first], [second] = (list(RuleReviewer().review(tree, range="HEAD~1...HEAD")) for _ in range(2))
    assert formats.as_sarif(first) == formats.as_sarif(second)
    log = json.loads(formats.as_sarif(first))
    check_sarif(log)
    for result in log["runs"][0]["results"]:
        place = result["locations"][0]["physicalLocation"]
        file = tree / unquote(place["artifactLocation"]["uri"])
        region = place["region"]
        assert 1 <= region["startLine"] <= region["endLine"] <= len(file.read_bytes().splitlines())
    prints = [result["partialFingerprints"]["hunkHash/v1"] for result in log["runs"][0]["results"]]
    assert len(set(prints)) == len(prints)


def check_sarif(log: dict) -> None:
    """What the schema of SARIF 2.1.0 asks of the objects that we write."""
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json")
    assert set(log) == {"$schema", "version", "runs"}
    [run] = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(rule["shortDescription"]["text"] for rule in rules)
    for uri in [run["tool"]["driver"]["informationUri"], *(rule["helpUri"] for rule in rules)]:
        assert re.fullmatch(r"https://\S+", uri)
    assert [one["executionSuccessful"] for one in run["invocations"]] == [True]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error") and result["message"]["text"]
        assert 0 <= result.get("rank", 0) <= 100
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uriBaseId"] in run["originalUriBaseIds"]
        assert re.fullmatch(r"[\w.~/%-]+", place["artifactLocation"]["uri"])


def test_an_empty_diff_gives_an_empty_log(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["code_review", "review", "-", "--format", "sarif"]) == 0
    log = json.loads(capsys.readouterr().out)
    check_sarif(log)
    assert log["runs"][0]["results"] == []


@pytest.mark.parametrize("form", ["text", "json", "sarif", "github", "rdjson", "markdown", "patch"])
def test_every_format_is_printed_alone(tree, capsys, monkeypatch, form):
    raw = changes.git(tree, "diff", "HEAD~1").stdout
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
    assert main(["code_review", "review", "-", "--format", form]) == 0
    out = capsys.readouterr().out
    if form in ("json", "sarif", "github"):
        json.loads(out)
    elif form == "rdjson":
        assert all(json.loads(line)["location"]["path"] for line in out.splitlines())
    elif form == "text":
        assert "src/a b.py:13: [rules/secret] This looks like a secret" in out
    elif form == "markdown":
        assert out.startswith("# Review of stdin")


def test_a_folder_of_results_has_a_page_that_shows_each_comment(tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["code_review", "review", str(tree), "--range", "HEAD~1", "--out", str(out)]) == 0
    page = (out / "tree.html").read_text(encoding="utf-8")
    [result] = RuleReviewer().review(tree, range="HEAD~1")
    assert page.count('class="bubble"') == len(result.findings) > 8
    assert "<script" not in page and {file.suffix for file in out.iterdir()} == {".html", ".json", ".sarif"}


def test_findings_can_fail_a_build_and_bad_input_does(tree, tmp_path, capsys):
    good = tmp_path / "good.diff"
    good.write_bytes(changes.git(tree, "diff", "HEAD~1").stdout)
    assert main(["code_review", "review", str(good), "--fail-on", "any"]) == 3
    bad = tmp_path / "bad.diff"
    bad.write_text("<html>502</html>\n")
    capsys.readouterr()
    assert main(["code_review", "review", str(bad), str(good)]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "bad.diff: line 1: expected 'diff --git'" in said.err
    assert "good.diff: " in said.out
    assert main(["code_review", "review", str(tree), "--range", "nowhere..HEAD"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main(["code_review", "review", str(tree), "--range=--output=x"]) == 2
    assert not (tree / "x").exists()


def test_control_characters_reach_no_terminal_and_repeated_words_are_said_once():
    raw = "--- a/x\x1b[31m.py\n+++ b/x\x1b[31m.py\n@@ -0,0 +1,2 @@\n+breakpoint()\n+breakpoint()\n"
    [result] = RuleReviewer().review(raw.encode())
    assert "\x1b" not in str(result) and len(result.findings) == 1
    assert result.dropped == {"repeated in the same file": 1}
    [few] = RuleReviewer().review(raw.encode(), max_comments=0)
    assert few.findings == () and few.dropped["beyond --max-comments"] == 1


def test_a_deletion_is_told_at_the_line_that_is_left():
    from domains.code_review.inference.anchors import anchor

    [file] = parse_diff("--- a/f\n+++ b/f\n@@ -4,3 +4,2 @@\n a\n-b\n c\n").files
    place = anchor(file.hunks[0])
    assert (place.side, place.line, place.nearest, place.first, place.last) == ("LEFT", 5, 4, 4, 6)
    [file] = parse_diff("--- a/f\n+++ b/f\n@@ -4,2 +4,4 @@\n a\n+b\n+c\n d\n").files
    place = anchor(file.hunks[0])
    assert (place.side, place.line, place.start_line) == ("RIGHT", 6, 5)


CASES = (
    {
        "id": 7,
        "patch": "@@ -1,9 +1,9 @@ def f():\n a = 1\n+breakpoint()\n",
        "y": 1,
        "msg": "",
        "oldf": "a = 1\n",
        "lang": "py",
    },
    {
        "ids": ["x", 2],
        "hunk": "@@ -3,1 +3,1 @@\n-b\n+console.log(b)",
        "old": "",
        "new": "",
        "comment": "",
        "lang": "js",
    },
    {"patch": "@@ -1 +1 @@\n-c\n+c == None", "path": "src/c d.py"},
)


def test_hunks_of_a_released_file_are_reviewed_each_under_its_own_name(tmp_path):
    file = small.records(tmp_path / "msg-test.jsonl", list(CASES))
    [result] = RuleReviewer().review(file)
    assert [(one.path, one.line) for one in result.findings] == [
        ("1-7.py", 2),
        ("2-x_2.js", 3),
        ("src/c d.py", 1),
    ]
    assert result.name == "msg-test"


@pytest.mark.parametrize(
    ("row", "said"), [({"id": 1}, "the key 'hunk' is missing"), ({"patch": "+a"}, "begins with no header")]
)
def test_a_released_line_without_a_hunk_is_named(tmp_path, row, said):
    file = small.records(tmp_path / "x.jsonl", [CASES[0], row])
    [result] = RuleReviewer().review(file)
    assert said in result.error and result.error.startswith(":2: ")


def test_the_lines_around_a_change_are_as_many_as_are_asked_for(tree):
    sizes = []
    for context in (0, 3, 9):
        [result] = RuleReviewer().review(tree, range="HEAD~1..HEAD", context=context, paths=("moved.py",))
        [hunk] = next(file for file in result.diff if file.path == "moved.py").hunks
        sizes.append(len(hunk.lines))
    assert sizes == [1, 4, 10]
