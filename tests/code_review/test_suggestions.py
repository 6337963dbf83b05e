"""Suggested lines become patches that git takes, and comments that GitHub takes."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from domains.code_review.data.readers.diff import parse_diff
from domains.code_review.inference.anchors import anchor, finding
from domains.code_review.inference.suggestions import aligned, applies, check, suggestion
from domains.code_review.output import formats
from domains.code_review.output.plain import fenced, markdown
from domains.code_review.output.result import ReviewResult
from domains.code_review.types import Diff, Finding
from tests.code_review import changes


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A work tree with changes that are not committed, and their diff."""
    rng = random.Random(3)
    folder = tmp_path_factory.mktemp("tree")
    changes.repository(folder, {f"d {n % 3}/f{n}.txt": changes.content(rng) for n in range(80)})
    for path in sorted(folder.glob("d */*")):
        path.write_bytes(changes.changed(rng, path.read_bytes()))
    changes.git(folder, "add", "-A")
    return folder, parse_diff(changes.git(folder, "diff", "--cached").stdout)


def answers(rng: random.Random, diff: Diff, folder: Path | None = None) -> list[Finding]:
    """Findings with suggestions as a model would make them: the new side with a few lines changed, indented or not."""
    found = []
    for file in diff:
        for hunk in file.hunks:
            lines = [line.text for line in hunk.side("RIGHT")]
            stripped = rng.random() < 0.5
            new = changes.changed(rng, "\n".join(lines).encode("utf-8", "surrogateescape"))
            text = new.decode("utf-8", "surrogateescape").replace("\r", "")
            if stripped:
                text = "\n".join(line.strip() for line in text.split("\n"))
            content = None if folder is None or file.new_path is None else (folder / file.new_path).read_bytes()
            made = suggestion(file, hunk, text, content)
            found.append(replace(finding(file, hunk, anchor(hunk), "review/comment", comment="Do."), suggestion=made))
    return found


def test_suggestions_apply_in_git_and_come_off_again(changed):
    folder, diff = changed
    found = [one for one in answers(random.Random(4), diff, folder) if one.suggestion is not None]
    assert len(found) > 60
    for one in found:
        patch = one.suggestion.patch.encode("utf-8", "surrogateescape")
        before = (folder / one.path).read_bytes()
        said = changes.git(folder, "apply", "--check", "-", given=patch, check=False)
        assert said.returncode == 0, (said.stderr, patch, before)
        changes.git(folder, "apply", "-", given=patch)
        after = (folder / one.path).read_bytes()
        assert after == applies(patch, before) != before
        # A missing last line feed is the file's own, unless that very line went.
        assert after.endswith(b"\n") == before.endswith(b"\n") or len(after) < len(before)
        changes.git(folder, "apply", "-R", "-", given=patch)
        assert (folder / one.path).read_bytes() == before


def test_suggestions_without_the_file_apply_too(changed):
    """Fewer: those at a hunk's end are only made where the hunk shows that the file ends there."""
    folder, diff = changed
    found = [one for one in answers(random.Random(6), diff) if one.suggestion is not None]
    assert len(found) > 40
    for one in found:
        patch = one.suggestion.patch.encode("utf-8", "surrogateescape")
        changes.git(folder, "apply", "--check", "-", given=patch)


def test_all_suggestions_together_are_one_patch(changed):
    folder, diff = changed
    result = ReviewResult("x", findings=tuple(answers(random.Random(5), diff, folder)), diff=diff)
    patch = formats.as_patch(result).encode("utf-8", "surrogateescape")
    assert patch.count(b"diff --git") > 30
    changes.git(folder, "apply", "--check", "-", given=patch)


def test_githubs_rules_hold_for_every_comment(changed):
    """Each rule by which GitHub refuses a whole review, checked on the diff's own text."""
    _, diff = changed
    for seed in range(14):
        result = ReviewResult("x", findings=tuple(answers(random.Random(seed), diff)), diff=diff, commit="a" * 40)
        body = json.loads(formats.as_github(result))
        assert body["event"] == "COMMENT" and body["commit_id"] and len(body["comments"]) > 60
        for comment in body["comments"]:
            [file] = [file for file in diff if file.path == comment["path"]]
            column = {"RIGHT": "new", "LEFT": "old"}[comment["side"]]
            hunks = [{getattr(line, column) for line in hunk.lines} - {None} for hunk in file.hunks]
            assert any(comment["line"] in hunk for hunk in hunks)
            assert comment["body"]
            if "start_line" in comment:
                assert comment["start_line"] < comment["line"] and comment["start_side"] == comment["side"]
                assert any({comment["start_line"], comment["line"]} <= hunk for hunk in hunks)


def test_what_has_no_place_in_the_diff_goes_into_the_reviews_text(changed):
    _, diff = changed
    [file, *_] = diff.files
    one = finding(file, file.hunks[0], anchor(file.hunks[0]), "review/comment", comment="Hm.")
    result = ReviewResult("x", findings=(replace(one, line=10_000, start_line=None),), diff=diff)
    body = json.loads(formats.as_github(result))
    assert body["comments"] == [] and "Hm." in body["body"]


def test_lines_without_indentation_get_the_files_own():
    old = ["def f(x):", "    if x:", "        return 1", "    return 2"]
    stripped = ["def f(x):", "if x is None:", "return 1", "log(x)", "return 2"]
    assert aligned(old, stripped) == [
        "def f(x):",
        "    if x is None:",
        "        return 1",
        "        log(x)",
        "    return 2",
    ]
    whole = ["def f(x):", "    if not x:", "        return 1", "", "    return 2"]
    assert aligned(old, whole) == whole
    assert aligned(["a\r", "b\r"], ["a", "c"]) == ["a\r", "c\r"]


@pytest.mark.parametrize("answer", ["", "   \n", "a\nc\nd\ne", " a\n+c\n+d\n e"])
def test_an_empty_answer_or_the_same_lines_suggest_nothing(answer):
    diff = parse_diff("--- a/f.py\n+++ b/f.py\n@@ -1,3 +1,4 @@\n a\n-b\n+c\n+d\n e\n")
    assert suggestion(diff.files[0], diff.files[0].hunks[0], answer) is None


def test_python_that_parsed_must_parse():
    diff = parse_diff("--- a/f.py\n+++ b/f.py\n@@ -1 +1,2 @@\n x = 1\n+y = 2\n")
    [file] = diff.files
    bad, good = (suggestion(file, file.hunks[0], f"x = 1\ny = {text}") for text in ("(", "3"))
    assert check(file, bad, b"x = 1\ny = 2\n") == "would break the file's syntax"
    assert check(file, good, b"x = 1\ny = 2\n") == ""
    assert check(file, good, b"x = 1\n") == "does not apply"


def test_no_patch_is_made_of_a_path_outside_the_tree():
    [file] = parse_diff("--- a/../f.py\n+++ b/../f.py\n@@ -1 +1 @@\n-a\n+b\n").files
    assert suggestion(file, file.hunks[0], "c") is None


def test_what_a_model_says_does_nothing_on_a_page():
    said = markdown("see @team, ![x](http://a/b.png) <script>x</script> [t](http://c)\x1b[31m")
    assert "@team" not in said and "<script" not in said and "](" not in said and "://a" not in said
    assert "\x1b" not in said
    assert fenced(["```", "x"]).startswith("````suggestion\n")
